//! Against small upstreams on loopback: raw TCP where bytes matter, hyper where HTTP/2 does.

mod harness;
mod heads;
mod connections;
mod balancing;
mod bodies;
mod early;
mod websockets;
mod http2;
