use std::num::NonZeroU32;
use std::time::Duration;

/// What the HTTP API takes from its clients, so that none of them keeps it from the others.
///
/// The defaults are far from what Exoscale's clients do, a thousand of them at a time included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How many connections are served at once, at least 1. Default 4,096. A further one is answered
    /// 503 with `Retry-After` and closed.
    pub connections_max: usize,
    /// How many of them one client may have, at least 1. Default 2,048. A further one is answered 429 with
    /// `Retry-After` and closed. A client is an IPv4 address, or 64 bits of an IPv6 address; this machine, by
    /// whichever loopback address, is one.
    pub connections_per_address_max: usize,
    /// How many requests may be under way at once, at least 1. Default 8,192. One whose client has gone, or has
    /// been answered that it takes too long, counts until it is done. Further ones are answered 503 with
    /// `Retry-After`.
    pub requests_max: usize,
    /// How many octets a request's line and headers may have together, at least 8,192. Default 65,536. More
    /// are answered 431.
    pub head_bytes_max: usize,
    /// How many headers a request may have, at least 1. Default 100. More are answered 431.
    pub headers_max: usize,
    /// How many octets a request's body may have. Default 1,048,576. More are answered 413.
    pub body_bytes_max: usize,
    /// How many octets the bodies of all requests under way may have together, where the first 16 KiB of each do not
    /// count; at least [`body_bytes_max`](Self::body_bytes_max). Default 268,435,456. A request whose body finds no
    /// room is answered 503 with `Retry-After`.
    pub bodies_bytes_max: usize,
    /// How many requests may be made with the keys of one organization per second, and twice as many at once; each
    /// key of an operator has as many for itself. `None` is any number.
    /// Default 50,000. Further ones are answered 429 with `Retry-After`.
    pub organization_requests_per_second: Option<NonZeroU32>,
    /// The same for the requests of one client, before anybody knows their keys.
    pub address_requests_per_second: Option<NonZeroU32>,
    /// How long a connection may be without a request. Default 120 s, which is longer than clients keep
    /// theirs, so that they close them and no request meets a connection that is being closed.
    pub idle_timeout: Duration,
    /// How long a request's line and headers may take from their first octet on. Default 10 s. The connection
    /// is closed then.
    pub head_timeout: Duration,
    /// How long a request's body may take. Default 30 s. It is answered 408 then.
    pub body_timeout: Duration,
    /// How long a request may take from its last header to the first octet of its answer; longer than the
    /// [operation hold](crate::ServerConfig::operation_hold). Default 60 s. It is answered 503 then.
    pub request_timeout: Duration,
    /// How long a client may take for 64 KiB of an answer, or for its last part. Default 30 s. The connection
    /// is cut then.
    pub send_timeout: Duration,
    /// How long the requests under way may take when the server stops. Default 10 s. They are cut off then.
    pub stop_timeout: Duration,
}

impl Limits {
    /// What holds where nobody says otherwise.
    pub const DEFAULT: Self = Self {
        connections_max: 4096,
        connections_per_address_max: 2048,
        requests_max: 8192,
        head_bytes_max: 64 << 10,
        headers_max: 100,
        body_bytes_max: 1 << 20,
        bodies_bytes_max: 256 << 20,
        organization_requests_per_second: NonZeroU32::new(50_000),
        address_requests_per_second: NonZeroU32::new(50_000),
        idle_timeout: Duration::from_secs(120),
        head_timeout: Duration::from_secs(10),
        body_timeout: Duration::from_secs(30),
        request_timeout: Duration::from_secs(60),
        send_timeout: Duration::from_secs(30),
        stop_timeout: Duration::from_secs(10),
    };
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}
