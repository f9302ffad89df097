//! What two path patterns have in common, for the warnings of [`super::check`]. Requests are matched in
//! [`crate::routes`], in every reading of their path; nothing here decides about one.

use crate::routes::PathPattern;

/// Whether some path is one of both. ASCII case is ignored, since a warning too many is better than one too few.
pub(super) fn meet(a: &PathPattern, b: &PathPattern) -> bool {
    segments_meet(&segments(a), &segments(b))
}

/// Whether every path of `inner` is one of `outer`.
pub(super) fn covers(outer: &PathPattern, inner: &PathPattern) -> bool {
    segments_cover(&segments(outer), &segments(inner))
}

fn segments(pattern: &PathPattern) -> Vec<&str> {
    pattern.as_str().split('/').filter(|segment| !segment.is_empty()).collect()
}

fn segments_meet(a: &[&str], b: &[&str]) -> bool {
    match (a, b) {
        ([], rest) | (rest, []) => rest.iter().all(|segment| *segment == "**"),
        (["**", after @ ..], [_, rest @ ..]) => segments_meet(after, b) || segments_meet(a, rest),
        ([_, rest @ ..], ["**", after @ ..]) => segments_meet(a, after) || segments_meet(rest, b),
        ([x, a @ ..], [y, b @ ..]) => (*x == "*" || *y == "*" || x.eq_ignore_ascii_case(y)) && segments_meet(a, b),
    }
}

fn segments_cover(outer: &[&str], inner: &[&str]) -> bool {
    match (outer, inner) {
        ([], rest) => rest.is_empty(),
        (["**", after @ ..], []) => segments_cover(after, &[]),
        (["**", after @ ..], [_, rest @ ..]) => segments_cover(after, inner) || segments_cover(outer, rest),
        (_, [] | ["**", ..]) => false,
        ([x, outer @ ..], [y, inner @ ..]) => (*x == "*" || x.eq_ignore_ascii_case(y)) && segments_cover(outer, inner),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> PathPattern {
        PathPattern::parse(text).unwrap()
    }

    #[test]
    fn patterns_meet_where_a_path_is_one_of_both() {
        for (a, b, expected) in [
            ("/**", "/account/**", true),
            ("/account/**", "/account", true),
            ("/account/*", "/account", false),
            ("/*/cart", "/shop/**", true),
            ("/shop", "/account/**", false),
            ("/**/admin", "/shop/**", true),
            ("/**/admin", "/shop/*/cart", false),
            ("/Shop", "/shop", true),
            ("/", "/**", true),
            ("/", "/*", false),
        ] {
            assert_eq!(meet(&path(a), &path(b)), expected, "{a} and {b}");
            assert_eq!(meet(&path(b), &path(a)), expected, "{b} and {a}");
        }
    }

    #[test]
    fn a_pattern_covers_one_that_says_no_more() {
        for (outer, inner, expected) in [
            ("/**", "/account/**", true),
            ("/account/**", "/**", false),
            ("/account/**", "/account", true),
            ("/account/*", "/account/login", true),
            ("/account/*", "/account/**", false),
            ("/**/login", "/account/*/login", true),
            ("/*", "/", false),
            ("/", "/", true),
        ] {
            assert_eq!(covers(&path(outer), &path(inner)), expected, "{outer} and {inner}");
        }
    }
}
