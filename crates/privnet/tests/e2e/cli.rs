//! The command line: what it prints, and how it ends.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write as _;
use std::net::TcpListener;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use privnet_lab::{Daemon, Lab};
use serde_json::{Value, json};

use crate::support::{PRIVNET, hosts, in_lab, in_prepared_lab, items, text};

/// How a command ended and what it printed.
#[derive(Debug)]
struct Ended {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

/// Runs `privnet` with nothing set by this machine.
fn privnet(words: &[&str], variables: &[(&str, &str)]) -> Result<Ended> {
    let mut command = Command::new(PRIVNET);
    command.env_clear().args(words).envs([("PRIVNET_CONFIG", "/dev/null")]).envs(variables.iter().copied());
    let output = command.output()?;
    let text = |octets: Vec<u8>| String::from_utf8_lossy(&octets).into_owned();
    Ok(Ended { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) })
}

/// Runs it against a lab's server.
fn at(lab: &Lab, words: &[&str]) -> Result<Ended> {
    at_with(lab, words, &[("PRIVNET_DATA", &lab.server_dir().display().to_string())])
}

/// The same with these variables, and without the server's folder.
fn at_with(lab: &Lab, words: &[&str], variables: &[(&str, &str)]) -> Result<Ended> {
    privnet(words, &[variables, &[("PRIVNET_API_URL", lab.api().url())]].concat())
}

/// The cells of a printed table, without its header.
fn rows(table: &str) -> Vec<Vec<&str>> {
    table.lines().skip(1).map(|line| line.split_whitespace().collect()).collect()
}

#[test]
fn a_network_s_life_by_name_and_by_id_in_tables_and_in_json() {
    in_lab(hosts(2), |lab| {
        for (name, host) in [("red", "h1"), ("blue", "h2")] {
            let netns = lab.add_namespace()?;
            let created = at(lab, &["instance", "create", name, "--host", host, "--netns", netns.name()])?;
            ensure!(created.code == Some(0) && created.stdout.contains(netns.name()), "{created:?}");
        }
        let range = ["--start-ip", "10.0.0.10", "--end-ip", "10.0.0.99", "--netmask", "255.255.255.0"];
        let created = at(lab, &[&["network", "create", "backend", "--label", "team=db"][..], &range].concat())?;
        ensure!(created.code == Some(0), "{created:?}");
        for word in ["backend", "10.0.0.10 to 10.0.0.99", "255.255.255.0", "team=db"] {
            ensure!(created.stdout.contains(word), "no {word}: {}", created.stdout);
        }
        let listed = at(lab, &["network", "list", "-o", "json"])?;
        let listed: Value = serde_json::from_str(&listed.stdout)?;
        ensure!(listed == lab.api().get("/v2/private-network")?, "not the API's own: {listed}");
        let id = text(&items(&listed, "private-networks")[0], "id");

        let attached = at(lab, &["attach", "red", "backend"])?;
        ensure!(attached.stdout == "red is attached to backend, address 10.0.0.10\n", "{attached:?}");
        let attached = at(lab, &["attach", "blue", id, "--ip", "10.0.0.77", "--output", "json"])?;
        let operation: Value = serde_json::from_str(&attached.stdout)?;
        ensure!(operation["state"] == "success", "{attached:?}");
        let shown = at(lab, &["operation", "show", text(&operation, "id")])?;
        ensure!(shown.stdout.contains("success"), "{shown:?}");

        let shown = at(lab, &["network", "show", "backend"])?;
        ensure!(
            shown.stdout.contains("10.0.0.10  red ") && shown.stdout.contains("10.0.0.77  blue "),
            "{}",
            shown.stdout
        );
        let shown = at(lab, &["instance", "show", "blue"])?;
        ensure!(shown.stdout.contains("backend") && shown.stdout.contains("10.0.0.77"), "{}", shown.stdout);
        let listed = at(lab, &["host", "list"])?;
        let listed: BTreeSet<_> = rows(&listed.stdout).into_iter().map(|row| [row[0], row[2], row[3]]).collect();
        let expected = [["h1", "192.0.2.1", "connected"], ["h2", "192.0.2.2", "connected"]];
        ensure!(listed == BTreeSet::from(expected), "{listed:?}");

        let moved = at(lab, &["update-ip", "red", "backend", "--ip", "10.0.0.150"])?;
        ensure!(moved.stdout == "red in backend, address 10.0.0.150\n", "{moved:?}");
        let updated = at(lab, &["network", "update", "backend", "--name", "renamed", "--description", "a text"])?;
        ensure!(updated.stdout.contains("renamed") && updated.stdout.contains("a text"), "{updated:?}");
        let reset = at(lab, &["network", "reset-field", "renamed", "labels"])?;
        ensure!(reset.code == Some(0) && !reset.stdout.contains("team=db"), "{reset:?}");
        for (words, said) in [
            (&["detach", "red", "renamed"][..], "red is detached from renamed\n"),
            (&["detach", "blue", "renamed"], "blue is detached from renamed\n"),
            (&["network", "delete", "renamed"], "renamed is deleted\n"),
            (&["instance", "delete", "red"], "red is deleted\n"),
            (&["instance", "delete", "blue"], "blue is deleted\n"),
        ] {
            let ended = at(lab, words)?;
            ensure!(ended.code == Some(0) && ended.stdout == said, "{words:?}: {ended:?}");
        }
        lab.stop_agent(2)?;
        let removed = at(lab, &["host", "remove", "h2"])?;
        ensure!(removed.code == Some(0) && removed.stdout == "h2 is removed\n", "{removed:?}");
        Ok(())
    });
}

#[test]
fn exit_codes_tell_scripts_what_went_wrong() {
    in_prepared_lab(hosts(1).server_args(["--operation-hold", "10ms"]), |lab| {
        let nowhere = at(lab, &["network", "list"])?;
        ensure!(nowhere.code == Some(5) && nowhere.stderr.contains("cannot reach the API at"), "{nowhere:?}");
        lab.start_server()?;
        for name in ["one", "twice", "twice"] {
            ensure!(at(lab, &["network", "create", name])?.code == Some(0));
        }
        let twice = "2 private networks are named \"twice\"; give one's id: ";
        let unknown = "0198b2f0-0000-7000-8000-000000000000";
        for (code, words, said) in [
            (2, &["network", "create", ""][..], "name"),
            (2, &["network", "create", "n", "--start-ip", "10.0.0.1"], "netmask"),
            (2, &["network", "update", "one", "--end-ip", "bogus"], "bogus"),
            (2, &["network", "create", "n", "--label", "no value"], "KEY=VALUE"),
            (2, &["network", "list", "--output", "xml"], "xml"),
            (2, &["network", "frobnicate"], "frobnicate"),
            (3, &["network", "show", "nothing"], "private network \"nothing\" not found"),
            (3, &["network", "show", unknown], unknown),
            (3, &["attach", "nobody", "one"], "instance \"nobody\" not found"),
            (3, &["instance", "create", "red"], "there is no host yet"),
            (2, &["instance", "move", "nobody"], "--to <HOST>"),
            (3, &["instance", "move", "nobody", "--to", "h1"], "instance \"nobody\" not found"),
            (3, &["host", "remove", "h9", "--with-instances"], "host \"h9\" not found"),
            (4, &["network", "show", "twice"], twice),
        ] {
            let ended = at(lab, words)?;
            ensure!(ended.code == Some(code) && ended.stderr.contains(said), "{words:?}: {ended:?}");
            ensure!(ended.stdout.is_empty(), "{words:?} prints a result: {ended:?}");
        }
        Ok(())
    });
}

#[test]
fn an_operation_that_fails_has_an_exit_code_of_its_own() {
    in_lab(hosts(1), |lab| {
        for words in [&["network", "create", "n"][..], &["instance", "create", "late", "--netns", "pnlab-no-such"]] {
            ensure!(at(lab, words)?.code == Some(0));
        }
        let attached = at(lab, &["attach", "late", "n"])?;
        ensure!(attached.code == Some(6) && attached.stderr.contains("ended in failure"), "{attached:?}");
        ensure!(attached.stderr.contains("pnlab-no-such"), "{attached:?}");
        let refused = at(lab, &["network", "delete", "n"])?;
        ensure!(refused.code == Some(4) && refused.stderr.contains('1'), "{refused:?}");
        Ok(())
    });
}

#[test]
fn keys_come_from_the_environment_or_from_the_server_s_folder() {
    in_prepared_lab(hosts(1), |lab| {
        lab.start_server()?;
        let data = lab.server_dir().display().to_string();
        let json: Value = serde_json::from_slice(&std::fs::read(lab.server_dir().join("credentials.json"))?)?;
        let (key, secret) = (text(&json["default"], "key"), text(&json["default"], "secret"));

        let env = at(lab, &["env"])?;
        let url = lab.api().url();
        let expected = format!(
            "export EXOSCALE_API_ENDPOINT={url}/v2\nexport EXOSCALE_ZONE=ch-dk-2\n\
             export EXOSCALE_API_KEY={key}\nexport EXOSCALE_API_SECRET={secret}\n"
        );
        ensure!(env.stdout == expected, "{env:?}");

        // As somebody else's shell has evaluated it.
        let endpoint = format!("{url}/v2");
        let variables =
            [("EXOSCALE_API_ENDPOINT", &*endpoint), ("EXOSCALE_API_KEY", key), ("EXOSCALE_API_SECRET", secret)];
        ensure!(privnet(&["network", "list"], &variables)?.code == Some(0));
        let hosts = privnet(&["host", "list"], &variables)?;
        ensure!(hosts.code == Some(1) && hosts.stderr.contains(&format!("signed with {key}")), "{hosts:?}");

        let wrong = [("EXOSCALE_API_KEY", key), ("EXOSCALE_API_SECRET", "x"), ("PRIVNET_DATA", &*data)];
        let refused = at_with(lab, &["network", "list"], &wrong)?;
        let expected = format!("privnet: Invalid request signature (signed with {key}, from EXOSCALE_API_KEY)\n");
        ensure!((refused.code, &*refused.stderr) == (Some(1), &*expected), "{refused:?}");

        let nobody = at_with(lab, &["network", "list"], &[("PRIVNET_DATA", "/nowhere")])?;
        ensure!(
            nobody.code == Some(1) && nobody.stderr.contains("/nowhere/credentials.json is not there"),
            "{nobody:?}"
        );
        let half = privnet(&["network", "list"], &[("EXOSCALE_API_KEY", key)])?;
        ensure!(half.code == Some(2) && half.stderr.contains("EXOSCALE_API_SECRET"), "{half:?}");
        Ok(())
    });
}

#[test]
fn a_server_without_its_master_key_does_not_start_and_says_what_to_do() {
    in_prepared_lab(hosts(1), |lab| {
        lab.start_server()?;
        lab.stop_server()?;
        let (file, aside) = (lab.server_dir().join("master.key"), lab.dir().join("aside"));
        std::fs::rename(&file, &aside)?;
        let refused = lab.start_server().err().context("it starts")?.to_string();
        ensure!(refused.contains(&format!("{} is missing", file.display())), "{refused}");
        ensure!(refused.contains("put it back from a backup"), "{refused}");
        std::fs::rename(&aside, &file)?;
        lab.start_server()?;
        lab.api().get("/v2/private-network").map(drop)
    });
}

#[test]
fn settings_in_force_are_shown_with_where_they_came_from() -> Result<()> {
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), "zone = \"of-file\"\nvxlan-port = 4790\n")?;
    let path = file.path().display().to_string();
    let variables =
        [("PRIVNET_CONFIG", path.as_str()), ("PRIVNET_DATA", "/srv/privnet"), ("PRIVNET_ZONE", "of-environment")];
    let shown = privnet(&["config", "show", "--api-url", "http://127.0.0.1:1", "--output", "json"], &variables)?;
    let shown: Value = serde_json::from_str(&shown.stdout)?;
    for (name, value, from) in [
        ("api-url", json!("http://127.0.0.1:1"), "flag --api-url".to_owned()),
        ("zone", json!("of-environment"), "environment PRIVNET_ZONE".to_owned()),
        ("vxlan-port", json!("4790"), format!("file {path}")),
        ("data", json!("/srv/privnet"), "environment PRIVNET_DATA".to_owned()),
        ("sync-socket", json!("/srv/privnet/sync.sock"), "default".to_owned()),
        ("listen", json!("127.0.0.1:8080"), "default".to_owned()),
        ("vtep", Value::Null, "default".to_owned()),
    ] {
        ensure!(shown[name] == json!({"value": value, "from": from}), "{name}: {}", shown[name]);
    }
    let table = privnet(&["config", "show"], &variables)?;
    ensure!(rows(&table.stdout).iter().any(|row| row.join(" ") == "zone of-environment environment PRIVNET_ZONE"));
    Ok(())
}

/// What the documentation on organizations and keys shows, and what their holders see.
#[test]
fn an_organization_is_made_given_keys_and_deleted() {
    in_lab(hosts(1), |lab| {
        let netns = lab.add_namespace()?;
        let lab = &*lab;
        let created = at(lab, &["org", "create", "acme", "--networks", "1", "--instances", "unlimited"])?;
        ensure!(created.stdout.contains("0 of 1") && created.stdout.contains("0 of unlimited"), "{created:?}");
        let key_of = |words: &[&str]| -> Result<Value> {
            let made = at(lab, &[&["key", "create"][..], words, &["--output", "json"]].concat())?;
            serde_json::from_str(&made.stdout).with_context(|| format!("{made:?}"))
        };
        let admin = key_of(&["acme-admin", "--role", "admin", "--organization", "acme", "--expires-in", "1h"])?;
        let reader = key_of(&["acme-reader", "--role", "read-only", "--organization", "acme"])?;
        let with = |key: &Value, words: &[&str]| {
            let (id, secret) = (text(key, "id"), text(key, "secret"));
            at_with(lab, words, &[("EXOSCALE_API_KEY", id), ("EXOSCALE_API_SECRET", secret)])
        };

        let register = ["instance", "create", "web", "--netns", netns.name(), "--organization", "acme"];
        ensure!(at(lab, &register)?.code == Some(0), "the instance is not registered");
        at(lab, &["network", "create", "default-net"])?;
        ensure!(with(&admin, &["network", "create", "acme-net"])?.code == Some(0), "no network");
        let attached = with(&admin, &["attach", "web", "acme-net"])?;
        ensure!(attached.stdout == "web is attached to acme-net\n", "{attached:?}");
        for key in [&admin, &reader] {
            let networks = with(key, &["network", "list"])?;
            ensure!(rows(&networks.stdout).iter().map(|row| row[0]).eq(["acme-net"]), "{networks:?}");
            let instances = with(key, &["instance", "list"])?;
            ensure!(rows(&instances.stdout).iter().map(|row| row[0]).eq(["web"]), "{instances:?}");
            let refused = with(key, &["org", "list"])?;
            ensure!(refused.code == Some(1) && refused.stderr.contains("with an operator's key"), "{refused:?}");
        }
        let excess = with(&admin, &["network", "create", "one-more"])?;
        ensure!(excess.code == Some(4) && excess.stderr.contains("quota exceeded"), "{excess:?}");
        let refused = with(&reader, &["network", "delete", "acme-net"])?;
        ensure!(refused.code == Some(1) && refused.stderr.contains("read-only"), "{refused:?}");
        let in_use = at(lab, &["org", "delete", "acme"])?;
        ensure!(in_use.code == Some(4) && in_use.stderr.contains("1 private network and 1 instance"), "{in_use:?}");

        let renamed = at(lab, &["org", "rename", "acme", "acme-europe"])?;
        ensure!(renamed.code == Some(0) && renamed.stdout.contains("acme-europe"), "{renamed:?}");
        let gone = at(lab, &["org", "show", "acme"])?;
        ensure!(gone.code == Some(3), "{gone:?}");
        let taken = at(lab, &["org", "rename", "acme-europe", "default"])?;
        ensure!(taken.code == Some(4) && taken.stderr.contains("organization default already"), "{taken:?}");

        let revoked = with(&admin, &["key", "revoke", text(&reader, "id")])?;
        ensure!(revoked.code == Some(0), "{revoked:?}");
        ensure!(with(&reader, &["network", "list"])?.stderr.contains("Invalid request signature"), "still good");
        let listed = with(&admin, &["key", "list"])?;
        ensure!(rows(&listed.stdout).iter().map(|row| row[1]).eq(["acme-admin"]), "{listed:?}");
        for words in [&["detach", "web", "acme-net"][..], &["network", "delete", "acme-net"]] {
            ensure!(with(&admin, words)?.code == Some(0), "{words:?}");
        }
        for words in [&["instance", "delete", "web"][..], &["org", "delete", "acme-europe"]] {
            let ended = at(lab, words)?;
            ensure!(ended.code == Some(0), "{ended:?}");
        }
        ensure!(with(&admin, &["network", "list"])?.stderr.contains("Invalid request signature"), "still good");
        Ok(())
    });
}

#[test]
fn shells_are_taught_every_command() -> Result<()> {
    for shell in ["bash", "zsh", "fish"] {
        let script = privnet(&["completion", shell], &[])?;
        ensure!(script.code == Some(0), "{script:?}");
        for command in ["network", "update-ip", "reset-field", "set-quota", "revoke", "completion"] {
            ensure!(script.stdout.contains(command), "{shell} does not know {command}");
        }
    }
    // It is larger than an argument may be.
    let mut script = tempfile::NamedTempFile::new()?;
    script.write_all(privnet(&["completion", "bash"], &[])?.stdout.as_bytes())?;
    let checked = Command::new("bash").arg("-n").arg(script.path()).status()?;
    ensure!(checked.success(), "bash cannot read its script");
    Ok(())
}

#[test]
fn a_full_standard_output_is_a_failure_and_one_that_nobody_reads_is_none() -> Result<()> {
    for words in [&["completion", "bash"][..], &["config", "show"]] {
        let mut command = Command::new(PRIVNET);
        command.env_clear().env("PRIVNET_CONFIG", "/dev/null").args(words);
        let full = command.stdout(File::options().write(true).open("/dev/full")?).output()?;
        let stderr = String::from_utf8_lossy(&full.stderr);
        ensure!(full.status.code() == Some(1), "{words:?}: {}: {stderr}", full.status);
        ensure!(stderr.starts_with("privnet: cannot write to standard output: "), "{words:?}: {stderr}");
        let (reader, unread) = std::io::pipe()?;
        drop(reader);
        let left = command.stdout(unread).output()?;
        ensure!(left.status.success() && left.stderr.is_empty(), "{words:?}: {left:?}");
    }
    Ok(())
}

#[test]
fn every_command_s_help_has_an_example() -> Result<()> {
    let mut commands: Vec<Vec<String>> = vec![Vec::new()];
    while let Some(command) = commands.pop() {
        let words = command.iter().map(String::as_str).chain(["--help"]).collect::<Vec<_>>();
        let help = privnet(&words, &[])?.stdout;
        // A command that only holds others leaves the examples to them.
        match help.split_once("Commands:\n") {
            Some((_, list)) => commands.extend(names(list).map(|name| [command.as_slice(), &[name]].concat())),
            None => ensure!(help.contains("Example"), "privnet {} has no example", words.join(" ")),
        }
    }
    Ok(())
}

/// The commands that a help lists.
fn names(list: &str) -> impl Iterator<Item = String> {
    let name = |line: &str| line.strip_prefix("  ").filter(|line| !line.starts_with(' ')).map(str::to_owned);
    let lines = list.lines().take_while(|line| !line.is_empty()).filter_map(name);
    lines.filter_map(|line| line.split_whitespace().next().map(str::to_owned)).filter(|name| name != "help")
}

#[test]
fn nothing_but_loopback_is_listened_on() -> Result<()> {
    let data = tempfile::tempdir()?;
    let data = data.path().display().to_string();
    for words in [
        ["server", "--listen", "0.0.0.0:0", "--data", &data],
        ["server", "--listen", "[::]:0", "--data", &data],
        ["up", "--listen", "192.0.2.1:8080", "--data", &data],
    ] {
        let refused = privnet(&words, &[])?;
        ensure!(refused.code == Some(2) && refused.stderr.contains("loopback"), "{words:?}: {refused:?}");
    }
    Ok(())
}

#[test]
fn logs_are_json_on_request_with_a_line_per_request() {
    in_prepared_lab(hosts(1).server_args(["--log-format", "json"]), |lab| {
        lab.start_server()?;
        at(lab, &["network", "create", "n"])?;
        let log = lab.server().map(Daemon::log).unwrap_or_default();
        let events = log.lines().map(serde_json::from_str).collect::<Result<Vec<Value>, _>>()?;
        let created = events.iter().find(|event| event["operation"] == "create-private-network");
        let created = created.with_context(|| format!("no line about the request: {log}"))?;
        ensure!(created["status"] == 200 && created["duration_ms"].is_number(), "{created}");
        Ok(())
    });
}

#[test]
fn a_taken_address_is_named_with_its_cause() -> Result<()> {
    let data = tempfile::tempdir()?;
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let address = taken.local_addr()?.to_string();
    let refused = privnet(&["server", "--listen", &address, "--data", &data.path().display().to_string()], &[])?;
    ensure!(refused.code == Some(1), "{refused:?}");
    ensure!(refused.stderr.contains(&format!("cannot listen on {address}: Address already in use")), "{refused:?}");
    Ok(())
}
