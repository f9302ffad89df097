//! Chance, handed in as time is: no module below `app` asks the system.

use std::fmt;

use rand::Rng;

/// A source of random bytes that nobody can predict.
pub trait Random: fmt::Debug + Send + Sync {
    /// Fills `bytes`.
    fn fill(&self, bytes: &mut [u8]);

    /// A number from 0 up to, but not including, 1.
    fn unit(&self) -> f64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        // The upper 53 bits are as many as a double holds exactly.
        (u64::from_le_bytes(bytes) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// The thread's generator (ChaCha), seeded by the operating system.
#[derive(Debug, Clone, Default)]
pub struct SystemRandom;

impl Random for SystemRandom {
    fn fill(&self, bytes: &mut [u8]) {
        rand::rng().fill_bytes(bytes);
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
