//! Machines that join by the one command that an invitation prints, over the network between them and the server.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use privnet_lab::{Daemon, Lab};

use crate::support::{Machine, PRIVNET, eventually, finish, hosts, in_prepared_lab};

/// Where the server serves hosts, on the first machine.
const SYNC: &str = "192.0.2.1:4443";

impl Machine {
    /// The first machine of a lab, with its server, which is ready.
    fn serving(lab: &mut Lab, words: &[&str]) -> Result<(Self, Daemon)> {
        let machine = Self::configured(lab, 1)?;
        let server = machine.serve(lab, words)?;
        Ok((machine, server))
    }

    fn serve(&self, lab: &mut Lab, words: &[&str]) -> Result<Daemon> {
        let words = [&["server", "--sync-listen", SYNC][..], words].concat();
        let mut server = lab.daemon("the server", &mut self.privnet(&words))?;
        eventually("the server is ready", || {
            server.check()?;
            Ok(self.run(&["host", "list"]).is_ok())
        })?;
        Ok(server)
    }

    /// Invites a host; `words` are its name and flags.
    fn invite(&self, words: &[&str]) -> Result<Invitation> {
        let printed = self.run(&[&["host", "invite"], words].concat())?;
        let parts = printed.trim().strip_prefix("echo ").and_then(|line| line.split_once(" | privnet "));
        let (token, words) = parts.with_context(|| format!("no command: {printed}"))?;
        ensure!(!words.contains(token), "everybody sees the arguments of processes: {printed}");
        let words = words.split(' ').chain(["--vtep", "192.0.2.2"]);
        Ok(Invitation { token: token.to_owned(), words: words.map(str::to_owned).collect() })
    }

    /// The command of an invitation, with more words.
    fn joining(&self, invitation: &Invitation, more: &[&str]) -> Result<Command> {
        let words = invitation.words.iter().map(String::as_str);
        let mut command = self.privnet(&words.chain(more.iter().copied()).collect::<Vec<_>>());
        command.stdin(invitation.input()?);
        Ok(command)
    }

    /// The agent that runs it.
    fn join(&self, lab: &mut Lab, invitation: &Invitation) -> Result<Daemon> {
        lab.daemon("a host that joins", &mut self.joining(invitation, &[])?)
    }

    /// Runs it to its end, without an agent.
    fn join_alone(&self, invitation: &Invitation) -> Result<()> {
        finish(&mut self.joining(invitation, &["--no-start"])?).map(drop)
    }

    /// The same, where the end must be bad.
    fn is_not_joined(&self, invitation: &Invitation) -> Result<(Option<i32>, String)> {
        fail(&mut self.joining(invitation, &["--no-start"])?)
    }

    fn identity(&self) -> PathBuf {
        self.dir.join("data/identity.pem")
    }

    /// Waits until the server says that a host is connected, or is not.
    fn wait_for(&self, host: &str, is_connected: bool) -> Result<()> {
        let state = if is_connected { "connected" } else { "away" };
        eventually(&format!("{host} is {state}"), || {
            Ok(self.run(&["host", "list"])?.lines().any(|line| line.contains(host) && line.contains(state)))
        })
    }
}

/// What the new host is told.
#[derive(Clone)]
struct Invitation {
    token: String,
    /// Those after `privnet`, with an address of the second machine.
    words: Vec<String>,
}

impl Invitation {
    /// With another word in the place of the one after a flag.
    fn changed(&self, flag: &str, value: &str) -> Self {
        let mut words = self.words.clone();
        let at = words.iter().position(|word| word == flag).expect("the flag");
        words[at + 1] = value.to_owned();
        Self { words, ..self.clone() }
    }

    /// What gives the token as `echo` does.
    fn input(&self) -> Result<Stdio> {
        let (read, mut write) = std::io::pipe()?;
        writeln!(write, "{}", self.token)?;
        Ok(read.into())
    }
}

/// Runs a command to its end, which must be bad, and returns its exit code and what it said.
fn fail(command: &mut Command) -> Result<(Option<i32>, String)> {
    let output = command.output()?;
    ensure!(!output.status.success(), "{command:?} succeeds");
    Ok((output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned()))
}

#[test]
fn one_command_makes_a_host_that_is_there_again_after_a_restart() {
    in_prepared_lab(hosts(2), |lab| {
        let (operator, server) = Machine::serving(lab, &[])?;
        let machine = Machine::of(lab, 2)?;
        let agent = machine.join(lab, &operator.invite(&["h2"])?)?;
        operator.wait_for("h2", true)?;
        let mode = fs::metadata(machine.identity())?.permissions().mode() & 0o777;
        ensure!(mode == 0o600, "{mode:o}");
        ensure!(!machine.dir.join("data/identity.pem.joining").exists(), "the key is there a second time");
        agent.stop()?;
        operator.wait_for("h2", false)?;
        let agent = lab.daemon("the agent", &mut machine.privnet(&["agent"]))?;
        operator.wait_for("h2", true)?;
        // And so it is when the server was started again.
        server.stop()?;
        let server = operator.serve(lab, &[])?;
        operator.wait_for("h2", true)?;
        agent.stop()?;
        server.stop()
    });
}

/// By a shell that reads it from somewhere, so that the token is in the arguments of no process.
#[test]
fn what_an_invitation_prints_is_carried_out_by_a_shell() {
    in_prepared_lab(hosts(2), |lab| {
        let (operator, server) = Machine::serving(lab, &[])?;
        let machine = Machine::of(lab, 2)?;
        let printed = operator.run(&["host", "invite", "h2"])?;
        let binaries = Path::new(PRIVNET).parent().context("a folder")?.display();
        let (script, mut typed) = std::io::pipe()?;
        writeln!(typed, "PATH={binaries}:$PATH\n{} --vtep 192.0.2.2 --no-start", printed.trim())?;
        drop(typed);
        let said = finish(machine.command("sh").stdin(script))?;
        ensure!(said.contains("h2 has joined"), "{said}");
        operator.wait_for("h2", false)?;
        server.stop()
    });
}

#[test]
fn certificates_are_renewed_while_frames_flow() {
    in_prepared_lab(hosts(2), |lab| {
        let (operator, server) = Machine::serving(lab, &["--certificate-lifetime", "6s"])?;
        let machine = Machine::of(lab, 2)?;
        let mut agent = machine.join(lab, &operator.invite(&["h2"])?)?;
        operator.wait_for("h2", true)?;
        let first = fs::read_to_string(machine.identity())?;
        let [red, blue] = [lab.add_namespace()?, lab.add_namespace()?];
        operator.run(&[
            "network",
            "create",
            "n",
            "--start-ip",
            "10.0.0.10",
            "--end-ip",
            "10.0.0.99",
            "--netmask",
            "255.255.255.0",
        ])?;
        for (namespace, address) in [(&red, "10.0.0.10"), (&blue, "10.0.0.11")] {
            operator.run(&["instance", "create", namespace.name(), "--host", "h2"])?;
            operator.run(&["attach", namespace.name(), "n"])?;
            namespace.ip(&format!("address add {address}/24 dev net0"))?;
        }
        let to: std::net::Ipv4Addr = "10.0.0.11".parse()?;
        ensure!(red.reaches(to)?, "red does not reach blue");
        let pinger = lab.pinger(&red, to, std::time::Duration::from_millis(5))?;
        // Longer than any certificate lives: the second one in use is not the first, and has been used.
        eventually("it is renewed, twice", || {
            agent.check()?;
            Ok(agent.log().matches("this host has a new certificate").count() >= 2)
        })?;
        ensure!(fs::read_to_string(machine.identity())? != first, "the file is as it was");
        operator.wait_for("h2", true)?;
        pinger.stop()?;
        agent.stop()?;
        server.stop()
    });
}

#[test]
fn a_host_that_is_removed_is_cut_off_and_told_so() {
    in_prepared_lab(hosts(2), |lab| {
        let (operator, server) = Machine::serving(lab, &[])?;
        let machine = Machine::of(lab, 2)?;
        let agent = machine.join(lab, &operator.invite(&["h2"])?)?;
        operator.wait_for("h2", true)?;
        operator.run(&["host", "remove", "h2"])?;
        eventually("the agent says so", || Ok(agent.log().contains("host h2 was removed")))?;
        ensure!(!operator.run(&["host", "list"])?.contains("h2"), "it is there again");
        agent.stop()?;
        // It joins again with a new invitation, over what is left of the first time.
        let agent = machine.join(lab, &operator.invite(&["h2"])?)?;
        operator.wait_for("h2", true)?;
        agent.stop()?;
        server.stop()
    });
}

#[test]
fn a_second_machine_with_a_host_s_identity_is_refused_and_all_three_say_so() {
    in_prepared_lab(hosts(3), |lab| {
        let (operator, server) = Machine::serving(lab, &[])?;
        let (machine, thief) = (Machine::of(lab, 2)?, Machine::of(lab, 3)?);
        let agent = machine.join(lab, &operator.invite(&["h2"])?)?;
        operator.wait_for("h2", true)?;
        fs::create_dir(thief.dir.join("data"))?;
        fs::copy(machine.identity(), thief.identity())?;
        fs::write(thief.dir.join("privnet.toml"), format!("name = \"h2\"\nserver = \"https://{SYNC}\"\n"))?;
        let second = lab.daemon("a second agent", &mut thief.privnet(&["agent", "--vtep", "192.0.2.3"]))?;
        let connected = "an agent for host h2 is connected already (at 192.0.2.2:";
        eventually("the second is told", || Ok(second.log().contains(connected)))?;
        eventually("the first is told", || Ok(agent.log().contains("another agent asks to be this host")))?;
        eventually("the server says so", || Ok(server.log().contains("refused a second agent")))?;
        eventually("the audit log has it", || Ok(operator.run(&["audit"])?.contains("connect-agent")))?;
        // When the first has gone, as if its power had, the second is that host.
        agent.signal(Signal::SIGKILL)?;
        eventually("the second is taken", || Ok(second.log().contains("connected to the server")))?;
        second.stop()?;
        server.stop()
    });
}

#[test]
fn what_goes_wrong_is_told_and_changes_nothing() {
    in_prepared_lab(hosts(2), |lab| {
        let (operator, server) = Machine::serving(lab, &[])?;
        let machine = Machine::of(lab, 2)?;
        let invitation = operator.invite(&["h2"])?;
        let refused = |invitation: &Invitation, code: i32, message: &str| {
            let (found, said) = machine.is_not_joined(invitation)?;
            ensure!(found == Some(code) && said.contains(message), "{found:?}: {said}");
            ensure!(
                !machine.identity().exists() && !machine.dir.join("privnet.toml").exists(),
                "something was written"
            );
            Ok(())
        };
        let zeros = "0".repeat(64);
        refused(
            &invitation.changed("--fingerprint", &zeros),
            1,
            "the token has not left this machine: the server at https://192.0.2.1:4443 is not connected to: the certificate of the server is not accepted: it does not come from the authority with the fingerprint that was given",
        )?;
        refused(&Invitation { token: "pnj-0".to_owned(), ..invitation.clone() }, 4, "no invitation has this token")?;
        refused(&invitation.changed("--name", "h3"), 4, "the invitation is for host h2, and this one is named h3")?;
        refused(&invitation.changed("--server", "https://192.0.2.1:4444"), 5, "cannot reach the server")?;
        refused(&invitation.changed("--server", "http://192.0.2.1:4443"), 2, "is not https://name:port")?;
        refused(&invitation.changed("--fingerprint", "00"), 2, "is no SHA-256 fingerprint")?;
        // The API of the server is no TLS.
        let api = lab.daemon(
            "another server",
            operator.privnet(&["server", "--listen", "127.0.0.1:8081"]).env("PRIVNET_DATA", operator.dir.join("other")),
        )?;
        let mut own = machine.clone();
        own.namespace = operator.namespace.clone();
        let plain = invitation.changed("--server", "https://127.0.0.1:8081").changed("--vtep", "192.0.2.1");
        eventually("it is told that this is no TLS", || {
            let (_, said) = own.is_not_joined(&plain)?;
            Ok(said.contains("plain HTTP") || said.contains("is not TLS"))
        })?;
        api.stop()?;
        // Nor is anything lost by all that.
        machine.join_alone(&invitation)?;
        operator.wait_for("h2", false)?;
        let (code, said) = machine.is_not_joined(&invitation.changed("--name", "h3"))?;
        ensure!(code == Some(2) && said.contains("it says name = \"h2\""), "{code:?}: {said}");
        let (code, said) = fail(&mut operator.privnet(&["host", "invite", "h2"]))?;
        ensure!(code == Some(4) && said.contains("there is a host h2 already"), "{code:?}: {said}");
        server.stop()
    });
}

#[test]
fn a_file_of_settings_keeps_what_it_says() {
    in_prepared_lab(hosts(2), |lab| {
        let (operator, server) = Machine::serving(lab, &[])?;
        let machine = Machine::of(lab, 2)?;
        let file = machine.dir.join("privnet.toml");
        fs::write(&file, "# mine\nserver = \"https://192.0.2.9:1\"\n")?;
        let invitation = operator.invite(&["h2"])?;
        let (code, said) = machine.is_not_joined(&invitation)?;
        ensure!(code == Some(2) && said.contains("it says server = \"https://192.0.2.9:1\""), "{code:?}: {said}");
        ensure!(!machine.identity().exists(), "it has joined");
        fs::write(&file, "# mine\nlog = \"debug\"\n")?;
        machine.join_alone(&invitation)?;
        let text = fs::read_to_string(&file)?;
        let expected = format!("# mine\nlog = \"debug\"\nname = \"h2\"\nserver = \"https://{SYNC}\"\n");
        ensure!(text.starts_with(&expected) && text.contains("vtep = \"192.0.2.2\""), "{text}");
        // Done again it changes nothing.
        machine.join_alone(&invitation)?;
        ensure!(fs::read_to_string(&file)? == text, "it is written again");
        server.stop()
    });
}

/// Whatever is killed, and when: the command run again finishes it.
#[test]
fn a_join_that_is_killed_is_finished_by_the_same_command() {
    in_prepared_lab(hosts(2), |lab| {
        let (operator, mut server) = Machine::serving(lab, &[])?;
        for (round, microseconds) in (0_u64..12).map(|round| (round, round * 4000)) {
            let machine_dir = lab.dir().join("machine-2");
            let _ = fs::remove_dir_all(&machine_dir);
            let machine = Machine::of(lab, 2)?;
            let name = format!("r{round}");
            let invitation = operator.invite(&[&name])?;
            let mut joining = machine.joining(&invitation, &["--no-start"])?.spawn()?;
            std::thread::sleep(std::time::Duration::from_micros(microseconds));
            if round % 3 == 2 {
                server.signal(Signal::SIGKILL)?;
                let _ = joining.wait()?;
                server = operator.serve(lab, &[])?;
            } else {
                joining.kill()?;
                joining.wait()?;
            }
            machine.join_alone(&invitation).with_context(|| format!("round {round}"))?;
            let agent = lab.daemon("the agent", &mut machine.privnet(&["agent"]))?;
            operator.wait_for(&name, true)?;
            agent.stop()?;
            operator.run(&["host", "remove", &name])?;
        }
        server.stop()
    });
}
