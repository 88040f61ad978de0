//! The TLS handshake before the first request.

use std::time::Duration;

use privnet_api::reply;
use privnet_tls::{Acceptor, HandshakeError, TlsError, TlsStream};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tracing::debug;

/// Makes the handshake; `None` if it comes to nothing or takes longer than it may.
pub(super) async fn accept<S>(acceptor: Acceptor, stream: S, timeout: Duration) -> Option<TlsStream<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    match tokio::time::timeout(timeout, accept_or_say_why(&acceptor, stream)).await {
        Ok(accepted) => accepted,
        Err(_) => {
            debug!("a connection breaks: its TLS handshake takes too long");
            None
        }
    }
}

async fn accept_or_say_why<S>(acceptor: &Acceptor, stream: S) -> Option<TlsStream<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let beginning = acceptor.stream(stream).inspect_err(|cause| debug!(%cause, "cannot begin with TLS")).ok()?;
    match beginning.handshake().await {
        Ok(stream) => Some(stream),
        Err(failed) => {
            let cause = &failed.cause;
            debug!(%cause, "a TLS handshake has failed");
            if let Some(error @ TlsError::PlainHttpRequest) = failed.tls().cloned() {
                answer_in_clear(failed, &error).await;
            }
            None
        }
    }
}

/// Tells a client that speaks plain HTTP, in plain HTTP, what to do. It may hear it or not.
async fn answer_in_clear<S: AsyncWrite + Unpin>(failed: HandshakeError<S>, error: &TlsError) {
    let mut stream = failed.stream;
    let body = serde_json::to_string(&reply::Error { message: error.to_string() }).expect("a text");
    let answer = format!(
        "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json; charset=utf-8\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n{body}",
        body.len()
    );
    let _ = stream.write_all(answer.as_bytes()).await;
    let _ = stream.shutdown().await;
}
