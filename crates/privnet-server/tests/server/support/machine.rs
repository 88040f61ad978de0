use std::io;

use privnet_sync::proto::membership_client::MembershipClient;
use privnet_sync::proto::sync_client::SyncClient;
use privnet_sync::{FromAgent, Hello, JoinRequest, PROTOCOL, SERVER_NAME, channel_over, proto};
use privnet_tls::{Certificate, Connector, Identity, PrivateKey, SigningRequest, Trust};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use super::agent::{Answers, Held, hello, silent};
use super::{Agent, TestServer};

/// A machine that joins, and then shows its certificate.
#[derive(Clone)]
pub(crate) struct Machine {
    key: PrivateKey,
    certificate: Option<Certificate>,
}

/// Invites a host; what the machine is told.
pub(crate) fn invite(server: &TestServer, host: &str) -> Value {
    server.post("/privnet/v1/host-invitations", json!({"host": host}))
}

pub(crate) fn invite_again(server: &TestServer, host: &str) -> Value {
    server.post("/privnet/v1/host-invitations", json!({"host": host, "rejoin": true}))
}

impl Machine {
    pub(crate) fn new() -> Self {
        Self { key: PrivateKey::generate().expect("a key"), certificate: None }
    }

    /// A machine that has joined as this host.
    #[track_caller]
    pub(crate) fn joined(server: &TestServer, host: &str) -> Self {
        let mut machine = Self::new();
        machine.join(server, &invite(server, host), host).expect("joined");
        machine
    }

    pub(crate) fn join(&mut self, server: &TestServer, invitation: &Value, host: &str) -> Result<(), Status> {
        let request = self.join_request(invitation["token"].as_str().expect("a token"), host);
        let reply = self.ask_to_join(server, request)?;
        self.certificate = Some(Certificate::from_der(&reply.certificate).expect("a certificate"));
        Ok(())
    }

    pub(crate) fn join_request(&self, token: &str, host: &str) -> JoinRequest {
        let Hello { host, facts, .. } = hello(host, Held::new());
        JoinRequest { token: token.to_owned(), host, request: self.request(), facts }
    }

    pub(crate) fn ask_to_join(&self, server: &TestServer, request: JoinRequest) -> Result<proto::JoinReply, Status> {
        server.runtime().block_on(async {
            let channel = Self { certificate: None, ..self.clone() }.channel(server).await?;
            Ok(MembershipClient::new(channel).join(proto::JoinRequest::from(request)).await?.into_inner())
        })
    }

    /// Gets the next certificate, for another key.
    pub(crate) fn renewed(&self, server: &TestServer) -> Result<Self, Status> {
        let next = Self::new();
        let request = proto::RenewRequest { request: next.request() };
        let reply = server.runtime().block_on(async {
            let channel = self.channel(server).await?;
            MembershipClient::new(channel).renew(request).await
        })?;
        let certificate = Certificate::from_der(&reply.into_inner().certificate).expect("a certificate");
        Ok(Self { certificate: Some(certificate), ..next })
    }

    /// Connects as the host, as which it has joined or another one.
    pub(crate) fn connect(&self, server: &TestServer, host: &'static str, answers: Answers) -> Result<Agent, Status> {
        let channel = server.runtime().block_on(self.channel(server))?;
        Agent::try_connect_over(server, channel, hello(host, Held::new()), host, answers)
    }

    /// Connects as an agent that takes nothing of what it is told, but for the answers to PING: its window for each
    /// stream is empty (RFC 9113 §6.9.2).
    pub(crate) fn connect_deaf(&self, server: &TestServer, host: &'static str, held: Held) -> Result<Agent, Status> {
        let endpoint = Endpoint::from_static("https://server").initial_stream_window_size(0);
        let channel = server.runtime().block_on(self.channel_of(server, endpoint))?;
        Agent::try_connect_over(server, channel, hello(host, held), host, silent)
    }

    /// A connection without anything asked on it yet.
    pub(crate) fn open(&self, server: &TestServer) -> Result<Channel, Status> {
        server.runtime().block_on(self.channel(server))
    }

    /// Asks to be told what is wanted, and says `first` alone on the stream, which stays open.
    pub(crate) fn follow(&self, server: &TestServer, first: Option<FromAgent>) -> Result<(), Status> {
        Self::follow_on(self.open(server)?, server, first)
    }

    /// The same on a connection that there is.
    pub(crate) fn follow_on(channel: Channel, server: &TestServer, first: Option<FromAgent>) -> Result<(), Status> {
        let (saying, said) = mpsc::channel(1);
        first.into_iter().for_each(|message| saying.try_send(message.into()).expect("there is room"));
        server.runtime().block_on(async { SyncClient::new(channel).follow(ReceiverStream::new(said)).await })?;
        Ok(())
    }

    /// What it has been issued.
    pub(crate) fn certificate(&self) -> &Certificate {
        self.certificate.as_ref().expect("it has joined")
    }

    fn request(&self) -> Vec<u8> {
        SigningRequest::new(&self.key, "machine").expect("a request").der().to_vec()
    }

    async fn channel(&self, server: &TestServer) -> Result<Channel, Status> {
        self.channel_of(server, Endpoint::from_static("https://server")).await
    }

    async fn channel_of(&self, server: &TestServer, endpoint: Endpoint) -> Result<Channel, Status> {
        let broken = |error: io::Error| Status::new(Code::Unavailable, error.to_string());
        let stream = TcpStream::connect(server.sync_address()).await.map_err(broken)?;
        stream.set_nodelay(true).map_err(broken)?;
        let connector = self.connector(server);
        let stream = connector.stream(&SERVER_NAME.parse().expect("a name"), stream).expect("a stream");
        let stream = stream.handshake().await.map_err(|error| broken(error.cause))?;
        let channel = channel_over(&endpoint, stream).await;
        channel.map_err(|error| Status::new(Code::Unavailable, error.to_string()))
    }

    fn connector(&self, server: &TestServer) -> Connector {
        let identity = self
            .certificate
            .as_ref()
            .map(|certificate| Identity::new(vec![certificate.clone()], self.key.clone()).expect("an identity"));
        let trust = Trust::PinnedAuthority(server.authority().fingerprint());
        Connector::new(&trust, identity.as_ref(), &[PROTOCOL]).expect("a connector")
    }
}
