//! `guestpass --version`: which program this is, for whoever reports a fault or asks what runs.

use std::env::consts::{ARCH, OS};
use std::sync::LazyLock;

/// The features of `Cargo.toml` that this program was built with.
const FEATURES: [(&str, bool); 3] =
    [("proxy", cfg!(feature = "proxy")), ("rest", cfg!(feature = "rest")), ("ring-file", cfg!(feature = "ring-file"))];

/// What `--version` prints behind the name; `-V` prints its first line alone.
pub(super) fn long() -> &'static str {
    static LONG: LazyLock<String> = LazyLock::new(|| {
        let features = FEATURES.iter().filter(|(_, is_on)| *is_on).map(|(name, _)| *name).collect::<Vec<_>>().join(" ");
        let build = if cfg!(debug_assertions) { "debug" } else { "release" };
        format!(
            "{}\ncommit:   {}\nfeatures: {features}\nbuild:    {build}, {ARCH} {OS}",
            env!("CARGO_PKG_VERSION"),
            env!("GUESTPASS_COMMIT")
        )
    });
    &LONG
}
