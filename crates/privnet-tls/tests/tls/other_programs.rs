//! Conversations with other programs: OpenSSL's own, curl, Python, and wget, which Debian builds with GnuTLS.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use privnet_tls::{
    Acceptor, Authority, BlockingStream, ClientCertificates, Connector, Identity, Role, TlsError, Trust, tls_error,
};
use tempfile::TempDir;

use crate::common::*;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// An authority, a server and a client, and their files.
struct World {
    dir: TempDir,
    authority: Authority,
    server: Identity,
    client: Identity,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("privnet-test-").tempdir().expect("a folder");
        let authority = authority();
        let server = identity(&authority, &server(&server_names()));
        let client = identity(&authority, &client(&[]));
        let write = |name: &str, text: &[u8]| std::fs::write(dir.path().join(name), text).expect("written");
        write("ca.pem", authority.certificate().to_pem().as_bytes());
        write("stranger.pem", crate::common::authority().certificate().to_pem().as_bytes());
        for (who, identity) in [("server", &server), ("client", &client)] {
            write(&format!("{who}.pem"), identity.certificate().to_pem().as_bytes());
            write(&format!("{who}.key"), identity.key().to_pem().expect("PEM").as_bytes());
        }
        Self { dir, authority, server, client }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Output {
        // Settings of whoever runs the tests are no matter: no proxy, no file of options.
        let mut command = Command::new(program);
        command.args(arguments).current_dir(self.dir.path()).stdin(Stdio::null()).env("HOME", self.dir.path());
        for proxy in ["http_proxy", "https_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"] {
            command.env_remove(proxy);
        }
        command.output().unwrap_or_else(|error| panic!("cannot run {program}: {error}"))
    }

    /// Answers one request with the version of TLS and the common name of the client, at this port.
    fn serve(&self) -> (u16, thread::JoinHandle<Result<(), String>>) {
        let clients = ClientCertificates::Optional(vec![self.authority.certificate().clone()]);
        let acceptor = Acceptor::new(&self.server, &clients, &["http/1.1"]).expect("an acceptor");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a socket");
        let port = listener.local_addr().expect("an address").port();
        let serving = thread::spawn(move || {
            let (socket, _) = listener.accept().expect("a client");
            socket.set_read_timeout(Some(PATIENCE)).expect("set");
            answer(&acceptor, socket).map_err(|error| error.to_string())
        });
        (port, serving)
    }
}

fn answer(acceptor: &Acceptor, socket: TcpStream) -> std::io::Result<()> {
    let mut stream = BlockingStream::accept(acceptor, socket)?;
    let peer = stream.peer().expect("a peer").clone();
    let client = peer.certificates.first().and_then(|certificate| certificate.common_name()).unwrap_or("nobody");
    let body = format!("{} {client}", peer.version);
    let mut request = BufReader::new(&mut stream);
    let mut line = String::new();
    while line != "\r\n" {
        line.clear();
        request.read_line(&mut line)?;
    }
    write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())?;
    stream.close()
}

#[track_caller]
fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}

/// What a program that asks our server prints.
#[track_caller]
fn check(program: &str, arguments: &[&str], expected: &str) {
    let world = World::new();
    let (port, serving) = world.serve();
    let url = format!("https://localhost:{port}/");
    let arguments: Vec<_> = arguments.iter().map(|argument| argument.replace("URL", &url)).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let output = world.run(program, &arguments);
    assert_eq!(text(&output.stdout), expected, "{}", text(&output.stderr));
    assert_eq!(serving.join().expect("no panic"), Ok(()));
}

#[test]
fn curl_asks_our_server() {
    check("curl", &["-sS", "--cacert", "ca.pem", "URL"], "TLSv1.3 nobody");
    check("curl", &["-sS", "--cacert", "ca.pem", "--tls-max", "1.2", "URL"], "TLSv1.2 nobody");
    let with_certificate = ["-sS", "--cacert", "ca.pem", "--cert", "client.pem", "--key", "client.key", "URL"];
    check("curl", &with_certificate, "TLSv1.3 privnet-test client");
}

#[test]
fn wget_asks_our_server_by_gnutls() {
    check("wget", &["-q", "-O", "-", "--ca-certificate=ca.pem", "URL"], "TLSv1.3 nobody");
    let with_certificate =
        ["-q", "-O", "-", "--ca-certificate=ca.pem", "--certificate=client.pem", "--private-key=client.key", "URL"];
    check("wget", &with_certificate, "TLSv1.3 privnet-test client");
}

#[test]
fn python_asks_our_server() {
    let program = "import ssl, sys, urllib.request\n\
                   context = ssl.create_default_context(cafile='ca.pem')\n\
                   print(urllib.request.urlopen(sys.argv[1], context=context).read().decode(), end='')";
    check("python3", &["-c", program, "URL"], "TLSv1.3 nobody");
}

#[test]
fn whoever_does_not_trust_our_authority_says_so() {
    let world = World::new();
    let (port, serving) = world.serve();
    let output = world.run("curl", &["-sS", "--cacert", "stranger.pem", &format!("https://localhost:{port}/")]);
    assert_eq!(output.status.code(), Some(60), "{}", text(&output.stderr));
    let told = serving.join().expect("no panic").expect_err("the client leaves");
    assert_eq!(told, "the client refuses the connection: the authority of our certificate is unknown there");
}

#[test]
fn a_client_of_an_old_version_is_refused() {
    let world = World::new();
    let (port, serving) = world.serve();
    let old = ["s_client", "-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0", "-connect", &format!("localhost:{port}")];
    let output = world.run("openssl", &old);
    assert!(!output.status.success());
    serving.join().expect("no panic").expect_err("refused");
}

#[test]
fn openssl_verifies_all_that_our_authority_makes() {
    let world = World::new();
    let verify = |arguments: &[&str]| {
        let output = world.run("openssl", &[&["verify", "-x509_strict", "-CAfile", "ca.pem"], arguments].concat());
        assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    };
    verify(&["ca.pem"]);
    verify(&["-purpose", "sslserver", "-verify_hostname", "localhost", "-verify_ip", "::1", "server.pem"]);
    verify(&["-purpose", "sslclient", "client.pem"]);
    let request = privnet_tls::SigningRequest::new(world.client.key(), "a host").expect("a request");
    std::fs::write(world.path("request.pem"), request.to_pem()).expect("written");
    let output = world.run("openssl", &["req", "-verify", "-noout", "-subject", "-in", "request.pem"]);
    assert_eq!(text(&output.stdout), "subject=CN = a host\n", "{}", text(&output.stderr));
}

#[test]
fn keys_and_requests_of_openssl_are_read() {
    let world = World::new();
    for (kind, option, is_p256) in [
        ("RSA", "rsa_keygen_bits:2048", false),
        ("EC", "ec_paramgen_curve:P-384", false),
        ("EC", "ec_paramgen_curve:P-256", true),
    ] {
        let make = ["req", "-x509", "-nodes", "-newkey", kind, "-pkeyopt", option, "-subj", "/CN=x"];
        let files = ["-addext", "subjectAltName=DNS:localhost", "-keyout", "its.key", "-out", "its.pem"];
        let made = world.run("openssl", &[&make[..], &files[..]].concat());
        assert!(made.status.success(), "{}", text(&made.stderr));
        let read = |name: &str| std::fs::read_to_string(world.path(name)).expect("a file");
        let identity = Identity::from_pem(&read("its.pem"), &read("its.key")).expect("an identity");
        assert_eq!(identity.certificate().names(), [dns("localhost")]);
        let older = world.run("openssl", &["pkey", "-traditional", "-in", "its.key"]);
        Identity::from_pem(&read("its.pem"), &text(&older.stdout)).expect("the older form of a key");
        let locked = world.run("openssl", &["pkey", "-aes256", "-passout", "pass:x", "-in", "its.key"]);
        let refused = Identity::from_pem(&read("its.pem"), &text(&locked.stdout)).expect_err("it is locked");
        assert_eq!(refused, privnet_tls::CertificateError::EncryptedKey);
        let request = world.run("openssl", &["req", "-new", "-key", "its.key", "-subj", "/CN=x"]);
        match privnet_tls::SigningRequest::from_pem(&text(&request.stdout)) {
            Ok(request) => {
                assert!(is_p256, "{kind} {option}");
                world.authority.sign(&request, &client(&[])).expect("a certificate for it");
            }
            Err(error) => assert_eq!((error, is_p256), (privnet_tls::CertificateError::NotP256, false)),
        }
    }
}

/// OpenSSL's server, which is ended when it is dropped.
struct OpensslServer {
    child: Child,
    port: u16,
}

impl OpensslServer {
    fn start(dir: &Path, options: &[&str]) -> Self {
        let mut command = Command::new("openssl");
        command.args(["s_server", "-accept", "127.0.0.1:0", "-cert", "server.pem", "-key", "server.key"]);
        command.args(options).current_dir(dir).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("openssl");
        let output = BufReader::new(child.stdout.take().expect("its output"));
        // Such as "ACCEPT 127.0.0.1:40123".
        let port = |line: String| line.strip_prefix("ACCEPT ")?.rsplit_once(':')?.1.parse().ok();
        let mut lines = output.lines().map(|line| line.expect("text"));
        let port = lines.find_map(port).expect("its port");
        thread::spawn(move || lines.for_each(drop));
        Self { child, port }
    }

    /// What our client with this identity reads of the server's page about the connection.
    fn ask(&self, world: &World, identity: Option<&Identity>) -> std::io::Result<String> {
        let trust = Trust::Authorities(vec![world.authority.certificate().clone()]);
        let connector = Connector::new(&trust, identity, &[]).expect("a connector");
        let socket = TcpStream::connect(("127.0.0.1", self.port)).expect("connected");
        socket.set_read_timeout(Some(PATIENCE)).expect("set");
        let mut stream = BlockingStream::connect(&connector, &name("localhost"), socket)?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
        let mut page = String::new();
        stream.read_to_string(&mut page)?;
        Ok(page)
    }
}

impl Drop for OpensslServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn our_client_asks_openssls_server() {
    let world = World::new();
    for (option, version) in [("-tls1_3", "TLSv1.3"), ("-tls1_2", "TLSv1.2")] {
        let server = OpensslServer::start(world.dir.path(), &["-www", option]);
        let page = server.ask(&world, None).expect("a page");
        assert!(page.contains(&format!("New, {version}")), "{page}");
    }
}

#[test]
fn our_client_tells_the_name_that_it_wants() {
    let world = World::new();
    let for_others = ["-www", "-cert", "client.pem", "-key", "client.key"];
    let for_the_name = ["-servername", "localhost", "-cert2", "server.pem", "-key2", "server.key"];
    let server = OpensslServer::start(world.dir.path(), &[&for_others[..], &for_the_name].concat());
    server.ask(&world, None).expect("a page");
}

#[test]
fn our_client_shows_its_certificate_to_openssls_server() {
    let world = World::new();
    for option in ["-tls1_3", "-tls1_2"] {
        let options = ["-www", option, "-CAfile", "ca.pem", "-Verify", "1", "-verify_return_error"];
        let server = OpensslServer::start(world.dir.path(), &options);
        server.ask(&world, Some(&world.client)).expect("a page");
        let refused = server.ask(&world, None).expect_err("it wants a certificate");
        let by_alert = matches!(tls_error(&refused), Some(TlsError::Alert { by: Role::Server, .. }));
        // The server may be gone before its alert is read.
        assert!(by_alert || refused.kind() == std::io::ErrorKind::ConnectionReset, "{refused}");
    }
}

#[test]
fn a_client_that_comes_again_makes_a_whole_handshake() {
    /// How often `s_client -reconnect` connects.
    const CONNECTIONS: usize = 6;
    for version in ["-tls1_2", "-tls1_3"] {
        let world = World::new();
        let acceptor = asking_nothing(&world.server);
        let listener = TcpListener::bind("127.0.0.1:0").expect("a socket");
        let port = listener.local_addr().expect("an address").port();
        let serving = thread::spawn(move || {
            for _ in 0..CONNECTIONS {
                let (socket, _) = listener.accept().expect("a client");
                socket.set_read_timeout(Some(PATIENCE)).expect("set");
                let mut stream = BlockingStream::accept(&acceptor, socket).expect("a handshake");
                assert_eq!(stream.read(&mut [0; 9]).expect("its end"), 0);
                // A session that did not end well is resumed by nobody.
                stream.close().expect("closed");
            }
        });
        let output =
            world.run("openssl", &["s_client", version, "-reconnect", "-connect", &format!("127.0.0.1:{port}")]);
        serving.join().expect("no panic");
        let told = text(&output.stdout);
        assert_eq!(
            (told.matches("\nNew, TLS").count(), told.matches("Reused, TLS").count()),
            (CONNECTIONS, 0),
            "{told}"
        );
        assert!(!told.contains("TLS session ticket:"), "{told}");
    }
}

#[test]
fn new_keys_in_the_middle_of_a_connection_are_taken() {
    let world = World::new();
    let acceptor = asking_nothing(&world.server);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a socket");
    let port = listener.local_addr().expect("an address").port();
    let mut child = Command::new("openssl")
        .args(["s_client", "-connect", &format!("127.0.0.1:{port}")])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("openssl");
    let (socket, _) = listener.accept().expect("a client");
    socket.set_read_timeout(Some(PATIENCE)).expect("set");
    let mut stream = BlockingStream::accept(&acceptor, socket).expect("a client");
    let input = child.stdin.take().expect("its input");
    let mut say = |mut input: &ChildStdin, line: &str| {
        input.write_all(line.as_bytes()).expect("typed");
        let mut heard = vec![0; line.len()];
        stream.read_exact(&mut heard).expect("read");
        assert_eq!(text(&heard), line);
        stream.write_all(b"answer").expect("written");
    };
    say(&input, "before\n");
    // A line that is a K changes the keys of both directions.
    (&input).write_all(b"K\n").expect("typed");
    let told = BufReader::new(child.stderr.take().expect("its words")).lines().map(|line| line.expect("text"));
    assert!({ told }.any(|line| line == "KEYUPDATE"));
    say(&input, "after\n");
    say(&input, "and later\n");
    drop(input);
    assert_eq!(stream.read(&mut [0; 9]).expect("its end"), 0);
    child.wait().expect("it ends");
}
