//! Why a request is no visit, found out by asking the gate again about requests that differ from it in one thing.

use bytes::Bytes;
use http::header::UPGRADE;
use http::{Method, Request, Uri};
use http_body_util::Empty;

use crate::gate::{self, Config};
use crate::hygiene::Upgrade;

type Asked = Request<Empty<Bytes>>;

/// What can keep a request from being a visit, and how it would be without.
const OBSTACLES: [(&str, fn(&mut Asked)); 5] = [
    ("its method is not GET", |request| *request.method_mut() = Method::GET),
    ("it asks for another protocol", |request| {
        request.headers_mut().remove(UPGRADE);
        request.extensions_mut().remove::<Upgrade>();
    }),
    ("its Fetch Metadata are not those of a page that is opened", |request| {
        for name in ["sec-fetch-mode", "sec-fetch-dest", "sec-fetch-site", "sec-fetch-user"] {
            request.headers_mut().remove(name);
        }
    }),
    ("it is fetched before anybody asked for the page", |request| {
        for name in ["sec-purpose", "purpose", "x-moz"] {
            request.headers_mut().remove(name);
        }
    }),
    (NEVER, |request| *request.uri_mut() = Uri::from_static("/")),
];

const NEVER: &str = "its path never makes a session";

/// Everything that keeps `request` from being a visit: each thing without which, all others put right, it would still be
/// none.
pub(super) fn obstacles(request: &Asked, config: &Config) -> Vec<&'static str> {
    let is_visit_without = |kept: Option<usize>| {
        let mut other = request.clone();
        for (place, (_, remove)) in OBSTACLES.iter().enumerate() {
            if Some(place) != kept {
                remove(&mut other);
            }
        }
        gate::facts(&other, config).visit
    };
    // Where even such a request is none, the operator lets no path make a session.
    if !is_visit_without(None) {
        return vec![NEVER];
    }
    let places = (0..OBSTACLES.len()).filter(|place| !is_visit_without(Some(*place)));
    places.map(|place| OBSTACLES[place].0).collect()
}
