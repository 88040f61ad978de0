//! Who a host is.

use anyhow::{Context, ensure};
use nix::sys::signal::Signal;

use crate::support::{Guest, PRIVNET, eventually, hosts, in_lab, in_prepared_lab, items, log_lines, managed};
use privnet_lab::invariants;

#[test]
fn a_second_agent_that_claims_a_host_is_refused_loudly_and_the_first_goes_on() {
    in_prepared_lab(hosts(2), |lab| {
        lab.start_server()?;
        lab.start_agent(1)?;
        lab.wait_for_agents()?;
        let (second, socket) = (lab.host(2), format!("unix://{}", lab.sync_socket().display()));
        let mut command = second.namespace.command(PRIVNET);
        command.args(["--config", "/dev/null", "agent", "--name", "h1", "--vtep", "192.0.2.2", "--server", &socket]);
        command.arg("--state").arg(&second.state_dir).arg("--bpf-dir").arg(&second.pin_dir);
        let mut second = lab.daemon("a second agent of h1", &mut command)?;
        eventually("the second is told", || Ok(second.log().contains("the server refuses this agent")))?;
        eventually(
            "the server's log tells",
            || Ok(!log_lines(lab, "server.log", &["refused", "host=h1"])?.is_empty()),
        )?;

        let network = lab.api().create_network(&managed("red"))?;
        let guests = [1, 1].map(|host| Guest::join(lab, &network, "guest", host));
        let [one, other] = guests;
        ensure!(one?.reaches(&other?)?, "the first does not go on");
        invariants::hold(lab)?;
        // Once the first is gone the second may be that host.
        second.check()?;
        lab.kill_agent(1);
        eventually("the second is taken", || Ok(second.log().contains("connected to the server")))
    });
}

#[test]
fn a_host_whose_agent_stands_still_is_not_waited_for() {
    in_lab(hosts(2), |lab| {
        let network = lab.api().create_network(&managed("red"))?;
        let guests = [1, 2].map(|host| Guest::join(lab, &network, "guest", host));
        let [one, other] = guests;
        let (one, other) = (one?, other?);
        let agent = |lab: &privnet_lab::Lab, signal| lab.host(2).agent().context("it runs")?.signal(signal);
        agent(lab, Signal::SIGSTOP)?;
        eventually("the server knows that h2 is away", || {
            let hosts = lab.api().get("/privnet/v1/hosts")?;
            Ok(items(&hosts, "hosts").iter().any(|host| host["name"] == "h2" && host["connected"] == false))
        })?;
        let third = Guest::join(lab, &network, "third", 1)?;
        ensure!(third.reaches(&one)? && one.reaches(&other)?, "what is there does not go on");
        agent(lab, Signal::SIGCONT)?;
        invariants::hold(lab)?;
        ensure!(third.reaches(&other)?, "the host is not told what it has missed");
        Ok(())
    });
}

#[test]
fn a_host_that_is_removed_may_come_back_as_new() {
    in_lab(hosts(2), |lab| {
        let network = lab.api().create_network(&managed("red"))?;
        let guest = Guest::join(lab, &network, "guest", 2)?;
        let refused = lab.privnet(&["host", "remove", "h2"]).expect_err("it has an instance");
        ensure!(format!("{refused:#}").contains("1 instance"), "{refused:#}");
        lab.api().detach(&network, &guest.instance.id)?;
        lab.privnet(&["instance", "delete", "guest"])?;
        lab.stop_agent(2)?;
        lab.privnet(&["host", "remove", "h2"])?;
        lab.start_agent(2)?;
        lab.wait_for_agents()?;
        Guest::join(lab, &network, "again", 2)?;
        invariants::hold(lab)
    });
}
