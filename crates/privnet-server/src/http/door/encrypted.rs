//! The TLS handshake before the first request.

use std::io;

use privnet_api::reply;
use privnet_tls::{Acceptor, HandshakeError, TlsError, TlsStream, tls_error};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};

use crate::handshakes::Handshake;

/// Makes the handshake; `None` if it comes to nothing or takes longer than it may.
pub(super) async fn accept<S>(acceptor: Acceptor, stream: S, handshake: Handshake) -> Option<TlsStream<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    handshake.make(accept_or_say_why(&acceptor, stream)).await
}

async fn accept_or_say_why<S>(acceptor: &Acceptor, stream: S) -> io::Result<TlsStream<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    match acceptor.stream(stream).map_err(io::Error::other)?.handshake().await {
        Ok(stream) => Ok(stream),
        Err(HandshakeError { cause, stream }) => {
            if let Some(error @ TlsError::PlainHttpRequest) = tls_error(&cause) {
                answer_in_clear(stream, error).await;
            }
            Err(cause)
        }
    }
}

/// Tells a client that speaks plain HTTP, in plain HTTP, what to do. It may hear it or not.
async fn answer_in_clear<S: AsyncWrite + Unpin>(mut stream: S, error: &TlsError) {
    let body = serde_json::to_string(&reply::Error { message: error.to_string() }).expect("a text");
    let answer = format!(
        "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json; charset=utf-8\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n{body}",
        body.len()
    );
    let _ = stream.write_all(answer.as_bytes()).await;
    let _ = stream.shutdown().await;
}
