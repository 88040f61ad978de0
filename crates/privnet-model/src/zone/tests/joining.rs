//! Invitations, and the certificates that hosts have by them.

use super::super::{INVITATIONS_MAX, InviteHost, JoinHost, RefusalKind};
use super::refusals::check;
use super::*;
use crate::{Fingerprint, Host, HostCertificate, Invitation, InvitationId, KeyId, OrganizationId, Role, Scope};

const HOUR: Duration = Duration::from_secs(3600);

fn fingerprint(number: u16) -> Fingerprint {
    let mut octets = [0; Fingerprint::OCTETS];
    octets[..2].copy_from_slice(&number.to_be_bytes());
    Fingerprint::from_bytes(octets)
}

fn certificate(number: u16) -> HostCertificate {
    HostCertificate { fingerprint: fingerprint(number), expires_at: NOW.plus(HOUR) }
}

/// Invites host 1 with this token.
fn invite(token: u16) -> Command {
    Command::InviteHost(InviteHost { host: host_name(1), token: fingerprint(token), is_rejoin: false, lifetime: HOUR })
}

fn invite_again(token: u16) -> Command {
    let Command::InviteHost(wish) = invite(token) else { unreachable!() };
    Command::InviteHost(InviteHost { is_rejoin: true, ..wish })
}

/// Joins as host 1 with a token, a public key, and the certificate that it is to have then.
fn join(token: u16, key: u16, new: u16) -> Command {
    let Command::RegisterHost { name, facts } = register_host(1) else { unreachable!() };
    Command::JoinHost(JoinHost {
        token: fingerprint(token),
        name,
        key: fingerprint(key),
        certificate: certificate(new),
        facts,
    })
}

/// Host 1 reports and shows this certificate.
fn admit(shown: u16) -> Command {
    let Command::RegisterHost { name, facts } = register_host(1) else { unreachable!() };
    Command::AdmitHost { name, certificate: fingerprint(shown), facts }
}

fn renew(shown: u16, next: u16) -> Command {
    Command::RenewCertificate { name: host_name(1), shown: fingerprint(shown), next: certificate(next) }
}

fn host(world: &mut World, command: &Command) -> Arc<Host> {
    match world.run(command) {
        Outcome::Host(host) => host,
        other => panic!("no host: {other:?}"),
    }
}

fn invitation(world: &mut World, command: &Command) -> Arc<Invitation> {
    match world.run(command) {
        Outcome::Invitation(invitation) => invitation,
        other => panic!("no invitation: {other:?}"),
    }
}

fn forbidden(world: &mut World, command: &Command, message: &str) {
    check(world, command, RefusalKind::Forbidden, message);
}

const REPLACED: &str = "this certificate of host host-1 is good for nothing any more: the host has joined again or renewed it since. Where this machine is that host, let it join again (privnet host invite host-1 --rejoin)";
const REMOVED: &str = "host host-1 was removed, and its certificate is good for nothing: it can join again with a new invitation (privnet host invite host-1)";
const UNKNOWN: &str = "no invitation has this token: it was revoked, ended long ago or is another server's, or its host was removed or has joined again since; ask for a new one (privnet host invite)";
const TAKEN: &str = "there is a host host-1 already: choose another name; or, if that host is to join again with a new key, say that it rejoins";

#[test]
fn a_machine_with_the_token_joins_as_the_host_that_was_invited() {
    let mut world = World::default();
    let invited = invitation(&mut world, &invite(1));
    assert_eq!((invited.expires_at, invited.used_by), (NOW.plus(HOUR), None));
    let joined = host(&mut world, &join(1, 10, 100));
    assert_eq!(joined.name, host_name(1));
    assert_eq!(joined.certificates.current, Some(certificate(100)));
    assert_eq!(host(&mut world, &admit(100)), joined);
}

#[test]
fn a_token_is_good_for_one_key() {
    let mut world = World::default();
    world.run(&invite(1));
    world.run(&join(1, 10, 100));
    let message = "the invitation of host host-1 was used already, with another key; ask for a new one (privnet host invite host-1)";
    forbidden(&mut world, &join(1, 11, 101), message);
}

/// Its first answer may have been lost.
#[test]
fn who_has_used_a_token_may_use_it_again_also_when_it_has_expired() {
    let mut world = World::default();
    world.run(&invite(1));
    let first = host(&mut world, &join(1, 10, 100));
    world.now = NOW.plus(2 * HOUR);
    let second = host(&mut world, &join(1, 10, 101));
    assert_eq!((second.id, second.certificates.current), (first.id, Some(certificate(101))));
    forbidden(&mut world, &admit(100), REPLACED);
}

#[test]
fn a_token_is_good_until_it_expires_or_is_revoked() {
    let mut world = World::default();
    let revoked = invitation(&mut world, &invite(1)).id;
    world.run(&Command::RevokeInvitation(revoked));
    forbidden(&mut world, &join(1, 10, 100), UNKNOWN);
    world.run(&invite(2));
    world.now = NOW.plus(HOUR);
    let message = "the invitation of host host-1 has expired; ask for a new one (privnet host invite host-1)";
    forbidden(&mut world, &join(2, 10, 100), message);
    forbidden(&mut world, &join(3, 10, 100), UNKNOWN);
}

#[test]
fn an_invitation_that_is_not_there_is_not_revoked() {
    let message = "invitation ffffffff-ffff-ffff-ffff-ffffffffffff not found";
    check(&mut World::default(), &Command::RevokeInvitation(InvitationId::MAX), RefusalKind::NotFound, message);
}

#[test]
fn the_token_of_one_host_is_no_other_s() {
    let mut world = World::default();
    world.run(&invite(1));
    let Command::JoinHost(wish) = join(1, 10, 100) else { unreachable!() };
    let other = Command::JoinHost(JoinHost { name: host_name(2), ..wish });
    let message = "the invitation is for host host-1, and this one is named host-2: join as host-1";
    forbidden(&mut world, &other, message);
}

#[test]
fn a_host_that_there_is_joins_again_only_where_that_is_meant() {
    let mut world = World::default();
    let first = world.host(1);
    check(&mut world, &invite(1), RefusalKind::Conflict, TAKEN);
    world.run(&invite_again(1));
    assert_eq!(host(&mut world, &join(1, 10, 100)).id, first);
    world.run(&invite_again(2));
    assert_eq!(host(&mut world, &join(2, 11, 101)).certificates.current, Some(certificate(101)));
    forbidden(&mut world, &admit(100), REPLACED);
}

#[test]
fn a_host_that_comes_between_invitation_and_join_keeps_its_name_and_its_address() {
    let mut world = World::default();
    world.run(&invite(1));
    world.host(1);
    check(&mut world, &join(1, 10, 100), RefusalKind::Conflict, TAKEN);
    let message = "there is no host host-1 that could join again: invite it as a new one";
    check(&mut World::default(), &invite_again(1), RefusalKind::NotFound, message);
    let mut world = World::default();
    world.run(&invite(1));
    world.host(2);
    let Command::JoinHost(mut wish) = join(1, 10, 100) else { unreachable!() };
    wish.facts.vtep = IpAddr::from([192, 0, 2, 2]);
    let message = "host host-2 already has the underlay address 192.0.2.2";
    check(&mut world, &Command::JoinHost(wish), RefusalKind::Conflict, message);
}

#[test]
fn a_certificate_is_good_until_the_next_one_was_shown() {
    let mut world = World::default();
    world.run(&invite(1));
    world.run(&join(1, 10, 100));
    world.run(&renew(100, 101));
    // Its answer was lost.
    world.run(&renew(100, 102));
    world.run(&admit(100));
    forbidden(&mut world, &admit(101), REPLACED);
    world.run(&admit(102));
    forbidden(&mut world, &admit(100), REPLACED);
    forbidden(&mut world, &renew(100, 103), REPLACED);
    world.run(&admit(102));
}

#[test]
fn the_certificates_and_tokens_of_a_host_that_is_removed_are_good_for_nothing() {
    let mut world = World::default();
    world.run(&invite(1));
    let id = host(&mut world, &join(1, 10, 100)).id;
    world.run(&Command::RemoveHost { host: id, with_instances: false });
    forbidden(&mut world, &admit(100), REMOVED);
    forbidden(&mut world, &renew(100, 101), REMOVED);
    forbidden(&mut world, &join(1, 10, 102), UNKNOWN);
    world.run(&invite(2));
    world.run(&join(2, 10, 103));
    forbidden(&mut world, &admit(100), REPLACED);
}

#[test]
fn a_host_without_a_certificate_shows_none() {
    let mut world = World::default();
    world.host(1);
    forbidden(&mut world, &admit(100), REPLACED);
}

#[test]
fn invitations_are_forgotten_a_day_after_their_end_and_are_not_more_than_so_many() {
    let mut world = World::default();
    for token in 0..INVITATIONS_MAX as u16 {
        world.run(&invite(token));
    }
    let message = "there are 256 invitations, the most there may be; revoke one first";
    check(&mut world, &invite(1000), RefusalKind::Conflict, message);
    world.now = NOW.plus(25 * HOUR);
    world.run(&invite(1000));
    assert_eq!(world.zone.invitations().count(), 1);
}

/// Who comes late is told so, and who has used one may not have heard the answer.
#[test]
fn invitations_are_remembered_for_a_day_after_their_end() {
    let mut world = World::default();
    world.run(&invite(1));
    world.run(&invite(2));
    let id = host(&mut world, &join(1, 10, 100)).id;
    world.now = NOW.plus(25 * HOUR - Duration::from_millis(1));
    world.run(&invite_again(3));
    assert_eq!(host(&mut world, &join(1, 10, 101)).id, id);
    let message = "the invitation of host host-1 has expired; ask for a new one (privnet host invite host-1)";
    forbidden(&mut world, &join(2, 11, 102), message);
}

/// Whether or not anybody has been invited since, at which they are taken away.
#[test]
fn an_invitation_that_is_forgotten_is_good_for_nobody_and_not_for_the_key_that_has_used_it() {
    let mut world = World::default();
    world.run(&invite(1));
    world.run(&invite(2));
    world.run(&join(1, 10, 100));
    world.now = NOW.plus(25 * HOUR);
    assert_eq!(world.zone.invitations().count(), 2);
    forbidden(&mut world, &join(1, 10, 101), UNKNOWN);
    forbidden(&mut world, &join(2, 11, 102), UNKNOWN);
    world.run(&admit(100));
}

/// Whoever has found the key that a host has lost may have its token as well.
#[test]
fn a_token_is_good_for_nothing_once_its_host_has_joined_again_by_another() {
    let mut world = World::default();
    world.run(&invite(1));
    world.run(&join(1, 10, 100));
    world.run(&invite_again(2));
    world.run(&join(1, 10, 101));
    world.run(&join(2, 11, 102));
    forbidden(&mut world, &join(1, 10, 103), UNKNOWN);
    world.run(&admit(102));
    world.run(&join(2, 11, 104));
}

/// Which is why nothing but the token has to be looked at first.
#[test]
fn what_a_token_is_good_for_is_told_without_a_key() {
    let mut world = World::default();
    world.run(&invite(1));
    let told =
        |world: &World, token, name| world.zone.invitation(fingerprint(token), &host_name(name), world.now).err();
    assert_eq!(told(&world, 1, 1), None);
    assert_eq!(told(&world, 2, 1), Some(Refusal::TokenUnknown));
    let other = Refusal::InvitedAsOther { invited: host_name(1), named: host_name(2) };
    assert_eq!(told(&world, 1, 2), Some(other));
    world.now = NOW.plus(HOUR);
    assert_eq!(told(&world, 1, 1), Some(Refusal::TokenExpired(host_name(1))));
}

#[test]
fn a_host_that_reports_takes_no_other_s_address() {
    let mut world = World::default();
    world.run(&invite(1));
    world.run(&join(1, 10, 100));
    world.host(2);
    let Command::AdmitHost { name, certificate, mut facts } = admit(100) else { unreachable!() };
    facts.vtep = IpAddr::from([192, 0, 2, 2]);
    let message = "host host-2 already has the underlay address 192.0.2.2";
    check(&mut world, &Command::AdmitHost { name, certificate, facts }, RefusalKind::Conflict, message);
}

#[test]
fn operators_invite_and_nobody_joins_by_the_api() {
    let mut world = World::default();
    let admin = Scope::Organization(OrganizationId::DEFAULT, Role::Admin);
    world.caller = Caller::Client { key: None::<KeyId>, scope: admin };
    for command in [invite(1), Command::RevokeInvitation(InvitationId::MAX)] {
        assert_eq!(world.refused(&command), Refusal::NotOperator);
    }
    world.caller = Caller::OPERATOR;
    world.run(&invite(1));
    for command in [join(1, 10, 100), admit(100), renew(100, 101)] {
        assert_eq!(world.refused(&command), Refusal::NotOperator);
    }
}
