//! `privnet up`, as a newcomer meets it, on a machine that is a namespace.

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;

use crate::support::{Machine, PRIVNET, eventually, hosts, in_prepared_lab};

#[test]
fn five_commands_after_up_two_namespaces_reach_each_other() {
    in_prepared_lab(hosts(1), |lab| {
        let machine = Machine::configured(lab, 1)?;
        machine.namespace.ip("route add default via 192.0.2.254")?;
        let [red, blue] = [lab.add_namespace()?, lab.add_namespace()?];
        let up = lab.daemon("privnet up", &mut machine.privnet(&["up"]))?;
        eventually("it says that it is up", || Ok(up.log().contains("the API is at http://127.0.0.1:8080.")))?;
        ensure!(up.log().contains("privnet network create backend"), "what to type next is not said: {}", up.log());
        eventually("its host is there", || Ok(machine.run(&["host", "list"])?.contains("connected")))?;

        let range = ["--start-ip", "10.0.0.10", "--end-ip", "10.0.0.99", "--netmask", "255.255.255.0"];
        machine.run(&[&["network", "create", "backend"][..], &range].concat())?;
        machine.run(&["instance", "create", red.name()])?;
        machine.run(&["instance", "create", blue.name()])?;
        machine.run(&["attach", red.name(), "backend"])?;
        let attached = machine.run(&["attach", blue.name(), "backend"])?;
        ensure!(attached.contains("10.0.0.11"), "{attached}");
        for (namespace, address) in [(&red, "10.0.0.10"), (&blue, "10.0.0.11")] {
            namespace.ip(&format!("address add {address}/24 dev net0"))?;
        }
        ensure!(red.reaches("10.0.0.11".parse::<std::net::Ipv4Addr>()?)?, "red does not reach blue");

        up.signal(Signal::SIGINT)?;
        up.stop().context("one Ctrl-C stops both")?;
        ensure!(red.ping("10.0.0.11".parse::<std::net::Ipv4Addr>()?, 1)? == 1, "frames do not flow after it");
        let up = lab.daemon("privnet up", &mut machine.privnet(&["up"]))?;
        eventually("it is up again", || {
            Ok(machine.run(&["host", "list"]).is_ok_and(|list| list.contains("connected")))
        })?;
        ensure!(machine.run(&["network", "show", "backend"])?.contains("10.0.0.11"), "what was made is gone");
        up.stop()?;
        machine.run(&["agent", "--purge"])?;
        ensure!(!red.has_device("net0")?, "purge leaves a device");
        Ok(())
    });
}

#[test]
fn without_a_route_it_says_what_to_do() {
    in_prepared_lab(hosts(1), |lab| {
        let output = Machine::configured(lab, 1)?.privnet(&["up"]).output()?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.code() == Some(2) && stderr.contains("--vtep"), "{}: {stderr}", output.status);
        ensure!(output.stdout.is_empty(), "it says first that it is up: {}", String::from_utf8_lossy(&output.stdout));
        Ok(())
    });
}

#[test]
fn when_one_of_the_two_cannot_go_on_both_end_and_say_why() {
    in_prepared_lab(hosts(1), |lab| {
        let machine = Machine::configured(lab, 1)?;
        // A file where the agent's folder is to be.
        let data = machine.dir.join("data");
        fs::create_dir(&data)?;
        fs::write(data.join("agent"), "")?;
        let output = machine.privnet(&["up", "--vtep", "192.0.2.1"]).output()?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        let last = stderr.lines().last().unwrap_or_default();
        ensure!(output.status.code() == Some(1), "{}: {stderr}", output.status);
        ensure!(last.starts_with("privnet: ") && last.contains(&data.join("agent").display().to_string()), "{stderr}");
        ensure!(output.stdout.is_empty(), "it says first that it is up: {}", String::from_utf8_lossy(&output.stdout));
        Ok(())
    });
}

#[test]
fn an_agent_without_privileges_says_what_it_needs() -> Result<()> {
    /// See capabilities(7).
    const CAP_NET_ADMIN: libc::c_ulong = 12;
    for words in [&["agent", "--vtep", "127.0.0.1"][..], &["agent", "--purge"], &["up"], &["lab", "demo"]] {
        let mut command = Command::new(PRIVNET);
        command.env_clear().env("PRIVNET_CONFIG", "/dev/null").args(words).stdin(Stdio::null());
        // What is not in the bounding set at exec, not even root has after it.
        let drop_capability = || match unsafe { libc::prctl(libc::PR_CAPBSET_DROP, CAP_NET_ADMIN, 0, 0, 0) } {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        };
        // SAFETY: between fork and exec only prctl(2) is called, which is async-signal-safe.
        unsafe { command.pre_exec(drop_capability) };
        let output = command.output()?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.code() == Some(1), "{words:?}: {}: {stderr}", output.status);
        ensure!(stderr.contains("run it as root (missing: CAP_NET_ADMIN)"), "{words:?}: {stderr}");
    }
    Ok(())
}
