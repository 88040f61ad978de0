use clap::Args;

/// What the API takes from its clients; see docs/usage.md.
#[derive(Debug, Args)]
#[command(next_help_heading = "Limits on clients of the API")]
pub(crate) struct LimitArgs {
    /// How many connections are served at once; further ones are answered 503
    #[arg(long, value_name = "COUNT")]
    connections_max: Option<String>,
    /// How many of them one client address may have; further ones are answered 429
    #[arg(long, value_name = "COUNT")]
    connections_per_address_max: Option<String>,
    /// How many requests may be under way at once; further ones are answered 503
    #[arg(long, value_name = "COUNT")]
    requests_max: Option<String>,
    /// How large a request's line and headers may be together; larger ones are answered 431
    #[arg(long, value_name = "OCTETS")]
    head_bytes_max: Option<String>,
    /// How many headers a request may have; more are answered 431
    #[arg(long, value_name = "COUNT")]
    headers_max: Option<String>,
    /// How large a request's body may be; larger ones are answered 413
    #[arg(long, value_name = "OCTETS")]
    body_bytes_max: Option<String>,
    /// How large the bodies of all requests under way may be together, the first 16 KiB of each aside; further ones
    /// are answered 503
    #[arg(long, value_name = "OCTETS")]
    bodies_bytes_max: Option<String>,
    /// How many requests may be made with an organization's keys in a second, and twice as many at once; further
    /// ones are answered 429; 0: any number
    #[arg(long, value_name = "REQUESTS")]
    organization_requests_per_second: Option<String>,
    /// How many requests one client address may make in a second, whoever signs them
    #[arg(long, value_name = "REQUESTS")]
    address_requests_per_second: Option<String>,
    /// How long a connection may be without a request
    #[arg(long, value_name = "DURATION")]
    idle_timeout: Option<String>,
    /// How long a request's line and headers may take
    #[arg(long, value_name = "DURATION")]
    head_timeout: Option<String>,
    /// How long a request's body may take; it is answered 408 then
    #[arg(long, value_name = "DURATION")]
    body_timeout: Option<String>,
    /// How long a request may take from its headers to its answer, more than --operation-hold; it is
    /// answered 503 then
    #[arg(long, value_name = "DURATION")]
    request_timeout: Option<String>,
    /// How long a client may take for 64 KiB of an answer
    #[arg(long, value_name = "DURATION")]
    send_timeout: Option<String>,
    /// How long requests under way may take when the server stops
    #[arg(long, value_name = "DURATION")]
    stop_timeout: Option<String>,
}
