// SPDX-License-Identifier: Apache-2.0

use super::{AuditKey, Journal, LeaseKey, NewestState, StateError, StateFolder};
use pol_chain::AccountId;
use pol_engine::TrainingState;
use pol_primitives::{
    BoundedVec,
    audit::{Audit, Case, Evidence, Finding, Stage},
    data::ShardId,
    lease::Lease,
    recipe::Tier,
    submission::Reveal,
};
use std::fs;

/// Returns a lease of shard `shard` under `nonce`.
fn lease(nonce: u32, shard: u32) -> Lease {
    Lease {
        nonce,
        tier: Tier::Whale,
        round: 5,
        due_round: 5,
        seed: [5; 32],
        base_root: [6; 32],
        head_tokens: 0,
        recipe: [7; 32],
        carry: [0; 32],
        carry_round: 0,
        shards: BoundedVec::truncate_from(vec![ShardId { manifest: 0, index: shard }]),
    }
}

/// Returns the name of a lease under `nonce`.
fn key(nonce: u32) -> LeaseKey {
    LeaseKey::of(&lease(nonce, 0))
}

/// Returns an audit of one update with the given seed.
fn audit(seed: u8) -> Audit<AccountId> {
    let case = Case {
        trainer: [1; 32],
        index: 0,
        segments: BoundedVec::truncate_from(vec![3]),
        trace_segments: 20,
        seats: BoundedVec::truncate_from(vec![0, 1]),
        earlier: BoundedVec::default(),
        served: false,
        opened: false,
        settled: false,
    };
    Audit {
        round: 3,
        draw: 0,
        seed: [seed; 32],
        stage: Stage::Serve,
        since: 9,
        probe: BoundedVec::default(),
        holders: BoundedVec::default(),
        cases: BoundedVec::truncate_from(vec![case]),
    }
}

/// Returns the name of an audit.
fn audit_key(id: u32) -> AuditKey {
    AuditKey::of(id, &audit(0))
}

fn state(steps: u64) -> TrainingState {
    let mut state = TrainingState::fresh(vec![0.5; 10]);
    state.steps = steps;
    state
}

#[test]
fn a_file_is_no_folder() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let refused = StateFolder::open(file.path()).err().unwrap();
    assert!(matches!(&refused, StateError::NoFolder(path) if path == file.path()), "{refused}");
    assert!(refused.to_string().contains("--base-path"), "{refused}");
}

#[test]
fn a_folder_belongs_to_one_process() {
    let folder = tempfile::tempdir().unwrap();
    let held = StateFolder::open(folder.path()).unwrap();
    assert!(matches!(StateFolder::open(folder.path()), Err(StateError::InUse(_))));
    drop(held);
    assert!(StateFolder::open(folder.path()).is_ok());
}

#[test]
fn a_journal_and_its_states_survive_until_the_lease_is_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let state_folder = StateFolder::open(folder.path()).unwrap();
    assert_eq!(state_folder.journal(&key(3)).unwrap(), None);
    let mut journal = Journal::new(key(3), 5, [9; 32], [0; 32]);
    state_folder.save_state(&key(3), 0, &state(0)).unwrap();
    for segment in 1..=2u16 {
        state_folder.save_state(&key(3), segment, &state(segment.into())).unwrap();
        journal.leaves.push([segment as u8; 32]);
        journal.losses.push(1.5);
        state_folder.write_journal(&journal).unwrap();
    }
    journal.reveal = Some(Reveal {
        payload_hash: [1; 32],
        trace_root: [2; 32],
        carry_hash: [3; 32],
        steps: 4,
        first_leaf: Default::default(),
        salt: [5; 32],
    });
    state_folder.write_journal(&journal).unwrap();
    state_folder.write_journal(&Journal::new(key(12), 6, [9; 32], [0; 32])).unwrap();
    drop(state_folder);
    let state_folder = StateFolder::open(folder.path()).unwrap();
    assert_eq!(state_folder.journal(&key(3)).unwrap(), Some(journal));
    assert_eq!(state_folder.leases().unwrap(), [key(3), key(12)]);
    assert_eq!(state_folder.kept_leaves(&key(3)).unwrap(), [0, 1, 2]);
    let leaves = [0, 1, 2].map(|steps| state(steps).leaf());
    let newest = |to| state_folder.newest_state(&key(3), &leaves, to, 10).unwrap().found;
    assert_eq!(newest(2), Some((2, state(2))));
    assert_eq!(newest(1), Some((1, state(1))));
    state_folder.forget_lease(&key(3)).unwrap();
    assert_eq!(state_folder.leases().unwrap(), [key(12)]);
    assert_eq!(state_folder.kept_leaves(&key(3)).unwrap(), [0u16; 0]);
    assert_eq!(newest(2), None);
}

#[test]
fn a_lease_of_another_fork_is_another_lease() {
    let folder = tempfile::tempdir().unwrap();
    let state_folder = StateFolder::open(folder.path()).unwrap();
    let (ours, theirs) = (LeaseKey::of(&lease(3, 0)), LeaseKey::of(&lease(3, 1)));
    assert_ne!(ours, theirs);
    state_folder.save_state(&ours, 0, &state(0)).unwrap();
    state_folder.write_journal(&Journal::new(ours, 5, [9; 32], [0; 32])).unwrap();
    assert_eq!(state_folder.journal(&theirs).unwrap(), None);
    assert_eq!(state_folder.kept_leaves(&theirs).unwrap(), [0u16; 0]);
    state_folder.write_journal(&Journal::new(theirs, 5, [9; 32], [0; 32])).unwrap();
    state_folder.forget_lease(&theirs).unwrap();
    assert_eq!(state_folder.leases().unwrap(), [ours]);
    let newest = state_folder.newest_state(&ours, &[state(0).leaf()], 0, 10).unwrap();
    assert_eq!(newest, NewestState { found: Some((0, state(0))), damaged: vec![] });
}

#[test]
fn every_part_of_a_lease_is_in_its_name() {
    let base = lease(3, 0);
    let changed = [
        Lease { tier: Tier::Miner, ..base.clone() },
        Lease { due_round: 6, ..base.clone() },
        Lease { seed: [8; 32], ..base.clone() },
        Lease { base_root: [8; 32], ..base.clone() },
        Lease { recipe: [8; 32], ..base.clone() },
        Lease { carry: [8; 32], ..base.clone() },
        lease(4, 0),
    ];
    assert!(changed.iter().all(|other| LeaseKey::of(other) != LeaseKey::of(&base)));
    let name = LeaseKey::of(&base).to_string();
    assert_eq!(name.parse(), Ok(LeaseKey::of(&base)));
    for text in ["", "3", "3-", "x-00", &name[..name.len() - 1], &format!("{name}0")] {
        assert!(text.parse::<LeaseKey>().is_err(), "{text}");
    }
}

#[test]
fn evidence_of_another_draw_is_not_taken() {
    let folder = tempfile::tempdir().unwrap();
    let state_folder = StateFolder::open(folder.path()).unwrap();
    let (ours, theirs) = (AuditKey::of(4, &audit(1)), AuditKey::of(4, &audit(2)));
    let evidence = Evidence::truncate_from(vec![(0, Finding::Impossible)]);
    state_folder.write_evidence(&ours, &evidence, &[7; 32]).unwrap();
    assert_eq!(state_folder.evidence(&theirs).unwrap(), None);
    let is_over = |key: &AuditKey| key.is_over(&[theirs].into());
    assert_eq!(state_folder.forget_evidence(is_over).unwrap(), [ours]);
    assert_eq!(state_folder.evidence(&ours).unwrap(), None);
    assert_eq!(ours.to_string().parse(), Ok(ours));

    // Stages and answers do not change the name of an audit, and other segments do.
    let mut later = Audit { stage: Stage::Replay, since: 12, ..audit(1) };
    later.cases.iter_mut().for_each(|case| case.served = true);
    assert_eq!(AuditKey::of(4, &later), ours);
    later.cases.iter_mut().for_each(|case| case.segments = BoundedVec::truncate_from(vec![4]));
    assert_ne!(AuditKey::of(4, &later), ours);
}

/// Saves six states of the leases 9 and 10. Returns the size of one.
fn save_two_leases(state_folder: &StateFolder) -> u64 {
    for nonce in [9, 10] {
        for leaf in 0..=5 {
            state_folder.save_state(&key(nonce), leaf, &state(leaf.into())).unwrap();
        }
    }
    let path = state_folder.path().join(format!("states/{}-0.state", key(9)));
    fs::metadata(path).unwrap().len()
}

/// Returns the leaves whose states are kept of the leases 9 and 10.
fn kept_of_both(state_folder: &StateFolder) -> [Vec<u16>; 2] {
    [9, 10].map(|nonce| state_folder.kept_leaves(&key(nonce)).unwrap())
}

#[test]
fn states_are_thinned_to_their_budget_the_newest_lease_first() {
    let folder = tempfile::tempdir().unwrap();
    let state_folder = StateFolder::open(folder.path()).unwrap();
    let size = save_two_leases(&state_folder);
    let kept = |budget: u64| {
        assert!(state_folder.thin_states(budget, 4).unwrap(), "no gap is wider");
        kept_of_both(&state_folder)
    };
    let all: Vec<u16> = (0..=5).collect();
    assert_eq!(kept(12 * size), [all.clone(), all.clone()]);
    assert_eq!(kept(10 * size), [all, vec![0, 2, 4, 5]]);
    assert_eq!(kept(8 * size), [vec![0, 2, 4, 5], vec![0, 2, 4, 5]]);
    assert_eq!(kept(7 * size), [vec![0, 2, 4, 5], vec![0, 4, 5]]);
    assert_eq!(kept(6 * size), [vec![0, 4, 5], vec![0, 4, 5]]);
    assert!(!state_folder.thin_states(0, 4).unwrap());
    assert_eq!(kept_of_both(&state_folder), [vec![0, 5], vec![0, 5]]);
}

#[test]
fn earlier_leases_keep_what_audits_can_wait_for_while_the_newest_one_gives_all() {
    let folder = tempfile::tempdir().unwrap();
    let state_folder = StateFolder::open(folder.path()).unwrap();
    let size = save_two_leases(&state_folder);
    assert!(!state_folder.thin_states(6 * size, 2).unwrap());
    assert_eq!(kept_of_both(&state_folder), [vec![0, 2, 4, 5], vec![0, 5]]);
    // Segments are so slow that none can be trained again in time.
    let folder = tempfile::tempdir().unwrap();
    let state_folder = StateFolder::open(folder.path()).unwrap();
    save_two_leases(&state_folder);
    assert!(!state_folder.thin_states(8 * size, 1).unwrap());
    assert_eq!(kept_of_both(&state_folder), [(0..=5).collect(), vec![0, 5]]);
}

#[test]
fn only_named_leases_make_room_and_only_as_much_as_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let state_folder = StateFolder::open(folder.path()).unwrap();
    save_two_leases(&state_folder);
    let all: Vec<u16> = (0..=5).collect();
    state_folder.make_room(1, &[key(9), key(10)]).unwrap();
    assert_eq!(kept_of_both(&state_folder), [all.clone(), all.clone()], "there is room");
    state_folder.make_room(u64::MAX, &[key(10), key(11)]).unwrap();
    assert_eq!(kept_of_both(&state_folder), [all, vec![0, 5]]);
}

#[test]
fn a_disk_without_space_for_an_update_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let state_folder = StateFolder::open(folder.path()).unwrap();
    assert!(state_folder.space(1).unwrap() > 0);
    let error = state_folder.space(1 << 50).unwrap_err();
    assert!(matches!(error, StateError::Disk(_)), "{error}");
    let (error, path) = (error.to_string(), folder.path().to_string_lossy());
    assert!(error.contains(&*path) && error.contains("needs 134217728.0 GiB"), "{error}");
}

#[test]
fn evidence_is_read_as_written_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let state_folder = StateFolder::open(folder.path()).unwrap();
    let evidence =
        Evidence::truncate_from(vec![(0, Finding::Impossible), (2, Finding::Unavailable)]);
    for audit in [4, 40] {
        state_folder.write_evidence(&audit_key(audit), &evidence, &[7; 32]).unwrap();
    }
    drop(state_folder);
    let state_folder = StateFolder::open(folder.path()).unwrap();
    assert_eq!(state_folder.evidence(&audit_key(4)).unwrap(), Some((evidence, [7; 32])));
    assert_eq!(state_folder.evidence(&audit_key(5)).unwrap(), None);
    let is_over = |key: &AuditKey| key.is_over(&[audit_key(40)].into());
    assert_eq!(state_folder.forget_evidence(is_over).unwrap(), [audit_key(4)]);
    assert_eq!(state_folder.evidence(&audit_key(4)).unwrap(), None);
    let path = folder.path().join(format!("audits/{}", audit_key(40)));
    let mut bytes = fs::read(&path).unwrap();
    bytes[3] ^= 1;
    fs::write(&path, bytes).unwrap();
    assert_eq!(state_folder.evidence(&audit_key(40)).unwrap(), None);
    assert!(!path.exists() && path.with_added_extension("damaged").exists());
}

#[test]
fn evidence_outlives_a_node_that_lags_and_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let evidence = Evidence::truncate_from(vec![(0, Finding::Impossible)]);
    let kept = |open: &[u32]| {
        let state_folder = StateFolder::open(folder.path()).unwrap();
        let open = open.iter().map(|id| audit_key(*id)).collect();
        state_folder.forget_evidence(|audit| audit.is_over(&open)).unwrap();
        assert_eq!(
            state_folder.is_needed().unwrap(),
            !state_folder.audits_with_evidence().unwrap().is_empty()
        );
        state_folder.evidence(&audit_key(5)).unwrap()
    };
    StateFolder::open(folder.path())
        .unwrap()
        .write_evidence(&audit_key(5), &evidence, &[7; 32])
        .unwrap();
    // Blocks before the audit was drawn, blocks with it, and one after it without a later audit.
    for open in [&[][..], &[2, 4], &[4, 5], &[5, 6], &[]] {
        assert_eq!(kept(open), Some((evidence.clone(), [7; 32])), "{open:?}");
    }
    assert_eq!(kept(&[6]), None);
}

#[test]
fn the_carry_of_the_newest_update_is_known() {
    let folder = tempfile::tempdir().unwrap();
    let state_folder = StateFolder::open(folder.path()).unwrap();
    assert_eq!(state_folder.newest_carry().unwrap(), None);
    for nonce in [9, 10, 11] {
        let reveal = Reveal {
            payload_hash: [1; 32],
            trace_root: [2; 32],
            carry_hash: [nonce as u8; 32],
            steps: 4,
            first_leaf: Default::default(),
            salt: [5; 32],
        };
        // The last one is still trained.
        let reveal = Some(reveal).filter(|_| nonce < 11);
        let journal = Journal { reveal, ..Journal::new(key(nonce), 5, [9; 32], [0; 32]) };
        state_folder.write_journal(&journal).unwrap();
    }
    assert_eq!(state_folder.newest_carry().unwrap(), Some([10; 32]));
}

#[test]
fn only_the_carries_in_force_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let state_folder = StateFolder::open(folder.path()).unwrap();
    let (old, new) = (state(1), state(2));
    state_folder.save_carry(&old).unwrap();
    state_folder.save_carry(&new).unwrap();
    state_folder.retain_carries(&[new.carry().hash(), [9; 32]]).unwrap();
    assert!(!state_folder.has_carry(&old.carry().hash()));
    assert_eq!(state_folder.load_carry(&new.carry().hash(), 10).unwrap().steps, 2);
}

#[test]
fn a_folder_belongs_to_one_chain() {
    let folder = tempfile::tempdir().unwrap();
    let state_folder = StateFolder::open(folder.path()).unwrap();
    state_folder.claim(&[1; 32]).unwrap();
    state_folder.claim(&[1; 32]).unwrap();
    let message = state_folder.claim(&[2; 32]).unwrap_err().to_string();
    assert!(
        message.contains("--base-path") && message.contains(&hex::encode([1; 32])),
        "{message}"
    );
    let path = folder.path().join("chain");
    fs::write(&path, format!("0x{}\n", hex::encode([1; 32]))).unwrap();
    state_folder.claim(&[1; 32]).unwrap();
    for damaged in [&b""[..], b"0x0x", &[0xff, 0xfe]] {
        fs::write(&path, damaged).unwrap();
        let message = state_folder.claim(&[1; 32]).unwrap_err().to_string();
        assert!(message.contains("chain is damaged") && message.contains("Move it"), "{message}");
    }
}

#[test]
fn half_written_files_are_removed() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("states")).unwrap();
    let torn = [".tmpAbCdEf", "states/.tmpAbCdEf"].map(|name| folder.path().join(name));
    for path in torn.iter().chain(&[folder.path().join("peer.key")]) {
        fs::write(path, [7; 32]).unwrap();
    }
    let state_folder = StateFolder::open(folder.path()).unwrap();
    assert!(!torn.iter().any(|path| path.exists()));
    assert_eq!(state_folder.peer_secret().unwrap(), [7; 32]);
}

#[test]
fn a_damaged_journal_is_set_aside_and_its_lease_is_known_by_its_states() {
    let folder = tempfile::tempdir().unwrap();
    let state_folder = StateFolder::open(folder.path()).unwrap();
    let path = folder.path().join(format!("states/{}.json", key(3)));
    fs::write(&path, "{").unwrap();
    assert_eq!(state_folder.journal(&key(3)).unwrap(), None);
    let aside = path.with_added_extension("damaged");
    assert_eq!(fs::read_to_string(&aside).unwrap(), "{");
    assert_eq!(state_folder.leases().unwrap(), []);
    state_folder
        .write_journal(&Journal { losses: vec![1.25], ..Journal::new(key(3), 4, [9; 32], [0; 32]) })
        .unwrap();
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("1.25", "1.26")).unwrap();
    state_folder.save_state(&key(3), 0, &state(0)).unwrap();
    assert_eq!(state_folder.journal(&key(3)).unwrap(), None);
    assert!(fs::read_to_string(&aside).unwrap().contains("1.26"), "the newest one is kept");
    assert_eq!(state_folder.leases().unwrap(), [key(3)]);
    state_folder.forget_lease(&key(3)).unwrap();
    assert_eq!(state_folder.leases().unwrap(), []);
    fs::write(folder.path().join("peer.key"), "short").unwrap();
    assert!(state_folder.peer_secret().is_err());
}

#[test]
fn the_newest_sound_state_is_found_and_damaged_ones_are_removed() {
    let folder = tempfile::tempdir().unwrap();
    let state_folder = StateFolder::open(folder.path()).unwrap();
    let leaves: Vec<_> = (0..=5).map(|steps| state(steps).leaf()).collect();
    for leaf in 0..=5 {
        state_folder.save_state(&key(3), leaf, &state(leaf.into())).unwrap();
    }
    let path = |leaf: u16| folder.path().join(format!("states/{}-{leaf}.state", key(3)));
    // A flipped bit, a file that was cut, another model, and another state.
    let mut bytes = fs::read(path(5)).unwrap();
    bytes[40] ^= 1;
    fs::write(path(5), bytes).unwrap();
    let bytes = fs::read(path(4)).unwrap();
    fs::write(path(4), &bytes[..50]).unwrap();
    TrainingState::fresh(vec![0.5; 11]).save(&path(3)).unwrap();
    fs::copy(path(1), path(2)).unwrap();
    // Such a state is not served from its file either.
    let stored = |leaf| state_folder.stored_state(&key(3), &leaves, leaf, 10);
    assert!((2..=6).all(|leaf| stored(leaf).is_none()));
    assert_eq!(stored(1).unwrap().trace_state(1).digest(), leaves[1]);
    let NewestState { found, damaged } =
        state_folder.newest_state(&key(3), &leaves, 5, 10).unwrap();
    assert_eq!(found, Some((1, state(1))));
    assert_eq!(damaged.len(), 4, "{damaged:?}");
    for (leaf, damaged) in [5, 4, 3, 2].into_iter().zip(&damaged) {
        assert!(damaged.contains(&*path(leaf).to_string_lossy()), "{damaged}");
    }
    assert_eq!(state_folder.kept_leaves(&key(3)).unwrap(), [0, 1]);
    let again = state_folder.newest_state(&key(3), &leaves, 5, 10).unwrap();
    assert_eq!(again.damaged, [""; 0]);
}

#[test]
fn a_carry_is_what_its_name_says() {
    let folder = tempfile::tempdir().unwrap();
    let state_folder = StateFolder::open(folder.path()).unwrap();
    let (ours, theirs) = (state(1), state(2));
    state_folder.save_carry(&theirs).unwrap();
    let name = |state: &TrainingState| {
        folder.path().join(format!("carry-{}.state", hex::encode(state.carry().hash())))
    };
    fs::rename(name(&theirs), name(&ours)).unwrap();
    assert!(state_folder.has_carry(&ours.carry().hash()));
    let error = state_folder.load_carry(&ours.carry().hash(), 10).unwrap_err();
    assert!(error.to_string().contains("another carry"), "{error}");
}

#[test]
fn the_peer_keeps_its_identity_and_its_secret() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let state_folder = StateFolder::open(folder.path()).unwrap();
    assert_eq!(state_folder.peer_secret().unwrap(), state_folder.peer_secret().unwrap());
    let path = folder.path().join("peer.key");
    let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(), 0o600);
    let secret = state_folder.peer_secret().unwrap();
    fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
    assert_eq!((state_folder.peer_secret().unwrap(), mode()), (secret, 0o600));
}
