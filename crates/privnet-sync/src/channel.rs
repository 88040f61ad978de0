use std::io;

use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tonic::codegen::{BoxFuture, Context, Poll, Service, http};
use tonic::transport::{Channel, Endpoint, Error};

/// A channel over a connection that there is, by `endpoint`'s name and limits; when it is gone, so is the channel.
///
/// # Errors
/// Nothing can be spoken over it.
pub async fn channel_over<C>(endpoint: &Endpoint, connection: C) -> Result<Channel, Error>
where
    C: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    endpoint.connect_with_connector(Once(Some(connection))).await
}

/// Gives the connection to the first who asks.
struct Once<C>(Option<C>);

impl<C: Send + 'static> Service<http::Uri> for Once<C> {
    type Response = TokioIo<C>;
    type Error = io::Error;
    type Future = BoxFuture<Self::Response, io::Error>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: http::Uri) -> Self::Future {
        let connection = self.0.take();
        Box::pin(async move { connection.map(TokioIo::new).ok_or_else(|| io::ErrorKind::NotConnected.into()) })
    }
}
