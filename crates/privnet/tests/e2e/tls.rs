//! The API by TLS: its certificate, who trusts it, and how it is replaced.

use std::fs::{self, File};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use privnet_tls::{
    AltName, Authority, BlockingStream, Connector, Identity, PrivateKey, SigningRequest, Subject, Trust, Use, Validity,
};
use tempfile::TempDir;

use crate::support::{PRIVNET, eventually, wait_for};

/// How many threads ask while certificates are replaced, and how often each.
const ASKERS: usize = 3;
const QUESTIONS: usize = 40;

/// A server of its own, which is ended when this is dropped.
struct Server {
    child: Child,
    dir: TempDir,
}

impl Server {
    fn start(flags: &[&str]) -> Result<Self> {
        Self::start_in(folder()?, flags)
    }

    fn start_in(dir: TempDir, flags: &[&str]) -> Result<Self> {
        let log = File::create(dir.path().join("log"))?;
        let child = privnet(dir.path(), &[&["server", "--listen", "127.0.0.1:0"][..], flags].concat())
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()?;
        Ok(Self { child, dir })
    }

    fn log(&self) -> Result<String> {
        Ok(fs::read_to_string(self.dir.path().join("log"))?)
    }

    /// Where it listens, once it does.
    fn port(&mut self) -> Result<u16> {
        wait_for("the server is ready", || {
            let log = self.log()?;
            if let Some(status) = self.child.try_wait()? {
                bail!("it has ended: {status}: {log}");
            }
            let after = log.split_once("server ready address=127.0.0.1:").map(|(_, after)| after);
            Ok(after.and_then(|after| after.split_whitespace().next()?.parse().ok()))
        })
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill(Pid::from_raw(i32::try_from(self.child.id())?), signal)?)
    }

    /// `privnet` as somebody who has the server's folder.
    fn privnet(&self, words: &[&str]) -> Result<Output> {
        Ok(privnet(self.dir.path(), words).output()?)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn folder() -> Result<TempDir> {
    Ok(tempfile::Builder::new().prefix("privnet-test-").tempdir()?)
}

/// `privnet` with nothing set by this machine, and its data in this folder.
fn privnet(dir: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(PRIVNET);
    command.args(words).env_clear().env("PRIVNET_CONFIG", "/dev/null").env("PRIVNET_DATA", dir.join("data"));
    command
}

fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}

/// An authority, and certificates of it in a folder, as an operator has them.
struct Certificates {
    authority: Authority,
    dir: PathBuf,
}

impl Certificates {
    fn new(dir: &Path) -> Result<Self> {
        let authority = Authority::create("privnet-test authority", [7; 16], validity()?)?;
        fs::write(dir.join("ca.pem"), authority.certificate().to_pem())?;
        Ok(Self { authority, dir: dir.to_owned() })
    }

    /// Puts a certificate with this number, and its key, where the server looks.
    fn renew(&self, number: u8) -> Result<()> {
        let key = PrivateKey::generate()?;
        let names = [AltName::Dns("localhost".into()), AltName::Ip(IpAddr::from([127, 0, 0, 1]))];
        let subject = Subject {
            serial: [number; 16],
            common_name: "privnet-test",
            names: &names,
            uses: Use::Server,
            validity: validity()?,
        };
        let certificate = self.authority.sign(&SigningRequest::new(&key, "x")?, &subject)?;
        fs::write(self.path("cert.pem"), certificate.to_pem())?;
        fs::write(self.path("key.pem"), key.to_pem()?.as_bytes())?;
        Ok(())
    }

    fn path(&self, file: &str) -> PathBuf {
        self.dir.join(file)
    }

    /// The number of the certificate that a new connection is shown.
    fn shown(&self, port: u16) -> Result<String> {
        let trust = Trust::Authorities(vec![self.authority.certificate().clone()]);
        let connector = Connector::new(&trust, None, &[])?;
        let socket = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port)))?;
        let stream = BlockingStream::connect(&connector, &"localhost".parse()?, socket)?;
        Ok(stream.peer().context("a peer")?.certificates[0].serial().to_owned())
    }
}

fn validity() -> Result<Validity> {
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())?;
    Ok(Validity { not_before: now - 3600, not_after: now + 24 * 3600 })
}

/// A server with a certificate of an authority, in the same folder.
fn with_certificate() -> Result<(Server, Certificates)> {
    let dir = folder()?;
    let certificates = Certificates::new(dir.path())?;
    certificates.renew(1)?;
    let (certificate, key) = (certificates.path("cert.pem"), certificates.path("key.pem"));
    let flags = ["--tls-cert", &certificate.display().to_string(), "--tls-key", &key.display().to_string()];
    Ok((Server::start_in(dir, &flags)?, certificates))
}

#[test]
fn a_self_signed_server_is_trusted_on_its_machine_and_by_who_is_given_its_certificate() -> Result<()> {
    let mut server = Server::start(&["--tls-self-signed"])?;
    let url = format!("https://localhost:{}", server.port()?);
    ensure!(server.log()?.contains("fingerprint="), "{}", server.log()?);
    let created = server.privnet(&["--api-url", &url, "network", "create", "backend"])?;
    ensure!(created.status.success(), "{created:?}");

    // Somebody else has a key and not the folder.
    let elsewhere = folder()?;
    let printed = text(&server.privnet(&["--api-url", &url, "env"])?.stdout);
    let variables: Vec<_> = printed.lines().filter_map(|line| line.strip_prefix("export ")?.split_once('=')).collect();
    let value = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
    let file = server.dir.path().join("data/tls-self-signed.pem").display().to_string();
    for name in ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"] {
        ensure!(value(name) == Some(&file), "{name} in {printed}");
    }
    let list = |flags: &[&str]| {
        let keys = ["EXOSCALE_API_KEY", "EXOSCALE_API_SECRET"].map(|name| (name, value(name).unwrap_or_default()));
        privnet(elsewhere.path(), &[&["--api-url", &url, "network", "list"][..], flags].concat()).envs(keys).output()
    };
    let refused = list(&[])?;
    let told = text(&refused.stderr);
    ensure!(
        refused.status.code() == Some(5) && told.contains("signed by itself") && told.contains("--ca-file"),
        "{told}"
    );
    let trusted = list(&["--ca-file", &file])?;
    ensure!(text(&trusted.stdout).contains("backend"), "{trusted:?}");
    Ok(())
}

#[test]
fn a_self_signed_server_keeps_its_certificate() -> Result<()> {
    let mut server = Server::start(&["--tls-self-signed"])?;
    server.port()?;
    let file = server.dir.path().join("data/tls-self-signed.pem");
    let certificate = fs::read(&file)?;
    server.signal(Signal::SIGTERM)?;
    ensure!(server.child.wait()?.success(), "{}", server.log()?);
    let dir = std::mem::replace(&mut server.dir, folder()?);
    let mut again = Server::start_in(dir, &["--tls-self-signed"])?;
    again.port()?;
    ensure!(fs::read(&file)? == certificate, "another one");
    Ok(())
}

/// Asks for the list of networks with a request that is signed as the contract says.
const SIGNED_BY_PYTHON: &str = r#"
import base64, hashlib, hmac, ssl, sys, time, urllib.request
url, ca, key, secret = sys.argv[1:]
expires = int(time.time()) + 60
message = f"GET /v2/private-network\n\n\n\n{expires}".encode()
signature = base64.b64encode(hmac.new(secret.encode(), message, hashlib.sha256).digest()).decode()
request = urllib.request.Request(url + "/v2/private-network")
request.add_header("Authorization", f"EXO2-HMAC-SHA256 credential={key},expires={expires},signature={signature}")
context = ssl.create_default_context(cafile=ca)
print(urllib.request.urlopen(request, context=context).read().decode())
"#;

#[test]
fn other_programs_ask_by_tls() -> Result<()> {
    let (mut server, certificates) = with_certificate()?;
    let url = format!("https://localhost:{}", server.port()?);
    let ca = certificates.path("ca.pem").display().to_string();
    let with_ca = ["--api-url", &url, "--ca-file", &ca];
    let created = server.privnet(&[&with_ca[..], &["network", "create", "backend"]].concat())?;
    ensure!(created.status.success(), "{created:?}");
    let keys: serde_json::Value = serde_json::from_slice(&fs::read(server.dir.path().join("data/credentials.json"))?)?;
    let secret = |name: &str| keys["default"][name].as_str().context("a key").map(str::to_owned);
    let (key, secret) = (secret("key")?, secret("secret")?);
    let python = Command::new("python3").args(["-c", SIGNED_BY_PYTHON, &url, &ca, &key, &secret]).output()?;
    ensure!(text(&python.stdout).contains("backend"), "{python:?}");

    // Two requests on one connection, and one that does not know that there is TLS.
    let probe = format!("{url}/healthz");
    let curl = |arguments: &[&str]| {
        Command::new("curl").args(["--silent", "--show-error", "--noproxy", "*"]).args(arguments).output()
    };
    let twice = curl(&["--cacert", &ca, "--write-out", "%{num_connects}", &probe, &probe])?;
    ensure!(text(&twice.stdout) == r#"{"status":"ok"}1{"status":"ok"}0"#, "{twice:?}");
    let in_clear = curl(&[&probe.replace("https://", "http://")])?;
    ensure!(text(&in_clear.stdout).contains("this port speaks TLS: use https://"), "{in_clear:?}");
    Ok(())
}

#[test]
fn a_new_certificate_is_served_from_sighup_on_and_no_request_fails() -> Result<()> {
    let (mut server, certificates) = with_certificate()?;
    let port = server.port()?;
    let url = format!("https://127.0.0.1:{port}/healthz");
    let ca = certificates.path("ca.pem").display().to_string();
    let shown_number = |number: u8| format!("{number:02x}").repeat(16).trim_start_matches('0').to_owned();
    let is_shown = |number| Ok(certificates.shown(port)? == shown_number(number));
    ensure!(is_shown(1)?);
    let (stop, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|threads| -> Result<()> {
        let ask = || -> Result<()> {
            let questions = vec![url.as_str(); QUESTIONS];
            while !stop.load(Ordering::Relaxed) {
                let asked = Command::new("curl")
                    .args(["--silent", "--show-error", "--fail", "--noproxy", "*", "--cacert", &ca])
                    .args(&questions)
                    .output()?;
                ensure!(asked.status.success(), "{}", text(&asked.stderr));
                ensure!(text(&asked.stdout) == r#"{"status":"ok"}"#.repeat(QUESTIONS), "{asked:?}");
                answered.fetch_add(QUESTIONS, Ordering::Relaxed);
            }
            Ok(())
        };
        let askers: Vec<_> = (0..ASKERS).map(|_| threads.spawn(ask)).collect();
        let replaced = (2..6).try_for_each(|number| -> Result<()> {
            let before = answered.load(Ordering::Relaxed);
            certificates.renew(number)?;
            server.signal(Signal::SIGHUP)?;
            eventually("the new certificate is served", || is_shown(number))?;
            eventually("there are answers since", || Ok(answered.load(Ordering::Relaxed) > before))
        });
        stop.store(true, Ordering::Relaxed);
        for asker in askers {
            asker.join().expect("no panic")?;
        }
        replaced
    })?;

    fs::write(certificates.path("key.pem"), "no key")?;
    server.signal(Signal::SIGHUP)?;
    let told = "the certificate of the API stays what it was";
    eventually("the log says what is wrong", || Ok(server.log()?.contains(told)))?;
    ensure!(is_shown(5)?, "the old one is served");
    server.signal(Signal::SIGTERM)?;
    ensure!(server.child.wait()?.success(), "{}", server.log()?);
    Ok(())
}

#[test]
fn sighup_does_not_end_a_server_without_tls() -> Result<()> {
    let mut server = Server::start(&[])?;
    server.port()?;
    server.signal(Signal::SIGHUP)?;
    eventually("the log says what is read again", || {
        server.port()?;
        Ok(server.log()?.contains("the catalogue is read again"))
    })?;
    server.signal(Signal::SIGTERM)?;
    ensure!(server.child.wait()?.success(), "{}", server.log()?);
    Ok(())
}

/// How a server with these flags, and a data folder of its own, refuses to start.
fn refusal(flags: &[&str]) -> Result<(Option<i32>, String)> {
    let dir = folder()?;
    let ended = privnet(dir.path(), &[&["server"], flags].concat()).output()?;
    Ok((ended.status.code(), text(&ended.stderr)))
}

#[test]
fn without_tls_other_addresses_than_loopback_are_refused_unless_allowed() -> Result<()> {
    let (code, told) = refusal(&["--listen", "0.0.0.0:0"])?;
    let advice = ["not encrypted", "--tls-cert", "--tls-self-signed", "--allow-plain-http"];
    ensure!(code == Some(2) && advice.iter().all(|words| told.contains(words)), "{told}");
    let (code, told) = refusal(&["--listen", "0.0.0.0:0", "--tls-self-signed", "--insecure-no-auth"])?;
    ensure!(code == Some(2) && told.contains("without authentication"), "{told}");

    let taken = TcpListener::bind("0.0.0.0:0")?;
    let address = taken.local_addr()?.to_string();
    for allowed in ["--allow-plain-http", "--tls-self-signed"] {
        // That the address is taken is all that is wrong with it.
        let (code, told) = refusal(&["--listen", &address, allowed])?;
        ensure!(code == Some(1) && told.contains("cannot listen on"), "{allowed}: {told}");
    }
    Ok(())
}

#[test]
fn certificates_that_are_no_good_keep_a_server_from_starting() -> Result<()> {
    let dir = folder()?;
    let certificates = Certificates::new(dir.path())?;
    certificates.renew(1)?;
    let [certificate, key, ca] =
        ["cert.pem", "key.pem", "ca.pem"].map(|file| certificates.path(file).display().to_string());
    let check = |flags: &[&str], code: i32, expected: &str| -> Result<()> {
        let (ended, told) = refusal(&[&["--listen", "127.0.0.1:0"], flags].concat())?;
        ensure!(ended == Some(code) && told.contains(expected), "{told}");
        Ok(())
    };
    check(&["--tls-cert", &certificate], 2, "set tls-key as well")?;
    check(&["--tls-key", &key], 2, "set tls-cert as well")?;
    check(&["--tls-cert", &certificate, "--tls-key", "/nowhere"], 1, "cannot read /nowhere")?;
    check(&["--tls-cert", &ca, "--tls-key", &key], 1, "the private key does not belong to the (first) certificate")?;
    check(&["--tls-cert", &key, "--tls-key", &key], 1, "there is no certificate in it")?;
    Identity::from_pem(&fs::read_to_string(certificate)?, &fs::read_to_string(key)?)?;
    Ok(())
}
