//! Chance, handed in as time is: no module below `app` asks the system.

use std::fmt;
use std::sync::Arc;

use rand::rngs::SysRng;
use rand::{Rng, TryRng};

/// A source of random bytes that nobody can predict.
///
/// ```
/// use guestpass::random::Random;
///
/// /// The same at each run: for tests that look at what was written.
/// #[derive(Debug)]
/// struct Sevens;
///
/// impl Random for Sevens {
///     fn fill(&self, bytes: &mut [u8]) {
///         bytes.fill(7);
///     }
/// }
/// # assert_eq!(Sevens.unit(), Sevens.unit());
/// ```
pub trait Random: fmt::Debug + Send + Sync {
    /// Fills `bytes`.
    ///
    /// ```
    /// use guestpass::random::{Random, SystemRandom};
    ///
    /// let mut secret = [0; 32];
    /// SystemRandom.fill(&mut secret);
    /// # assert_ne!(secret, [0; 32]);
    /// ```
    fn fill(&self, bytes: &mut [u8]);

    /// Fills `bytes` with what must never come twice, such as the nonce of a seal.
    ///
    /// ```
    /// use guestpass::random::{Random, SystemRandom};
    ///
    /// let mut nonce = [0; 12];
    /// SystemRandom.nonce(&mut nonce);
    /// # assert_ne!(nonce, [0; 12]);
    /// ```
    fn nonce(&self, bytes: &mut [u8]) {
        self.fill(bytes);
    }

    /// A number from 0 up to, but not including, 1.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use guestpass::random::{Random, SystemRandom};
    ///
    /// // Somewhere within the next minute, so that a thousand replicas do not ask at once.
    /// let wait = Duration::from_secs(60).mul_f64(SystemRandom.unit());
    /// assert!(wait < Duration::from_secs(60));
    /// ```
    fn unit(&self) -> f64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        // The upper 53 bits are as many as a double holds exactly.
        (u64::from_le_bytes(bytes) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

impl<R: Random + ?Sized> Random for Arc<R> {
    fn fill(&self, bytes: &mut [u8]) {
        (**self).fill(bytes);
    }

    fn nonce(&self, bytes: &mut [u8]) {
        (**self).nonce(bytes);
    }

    fn unit(&self) -> f64 {
        (**self).unit()
    }
}

/// The thread's generator (ChaCha), seeded by the operating system; for nonces the operating system itself.
///
/// ```
/// use guestpass::gate::GateLayer;
/// use guestpass::random::SystemRandom;
/// # use guestpass::{cookie::Key, secret::SecretBytes, session::MadeUp};
///
/// # let key = Key::from_secret(&SecretBytes::new(vec![7; 32]))?;
/// // What a gate has anyway.
/// let gate = GateLayer::builder(key, MadeUp::default()).random(SystemRandom).build();
/// # Ok::<(), guestpass::cookie::ShortSecret>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct SystemRandom;

impl Random for SystemRandom {
    fn fill(&self, bytes: &mut [u8]) {
        rand::rng().fill_bytes(bytes);
    }

    /// The operating system's own, each time. A generator in our memory is copied with it: two machines that wake up
    /// from one snapshot would go on with the same bytes, and with two seals of one nonce others can be read and forged
    /// (NIST SP 800-38D, appendix A). The kernel notices and starts anew. It takes a system call, which is why
    /// [`Random::fill`], asked on every request, does not do the same.
    fn nonce(&self, bytes: &mut [u8]) {
        SysRng.try_fill_bytes(bytes).expect("the operating system has random bytes once it is up");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unit_stays_below_one() {
        #[derive(Debug)]
        struct Highest;
        impl Random for Highest {
            fn fill(&self, bytes: &mut [u8]) {
                bytes.fill(0xff);
            }
        }
        assert!(Highest.unit() < 1.0);
        assert!((0..1000).all(|_| (0.0..1.0).contains(&SystemRandom.unit())));
    }
}
