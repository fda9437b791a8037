// SPDX-License-Identifier: Apache-2.0

use super::{Journal, StateError, StateFolder};
use pol_engine::TrainingState;
use pol_primitives::{
    audit::{Evidence, Finding},
    submission::Reveal,
};
use std::fs;

fn state(steps: u64) -> TrainingState {
    let mut state = TrainingState::fresh(vec![0.5; 10]);
    state.steps = steps;
    state
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
    assert_eq!(state_folder.journal(3).unwrap(), None);
    let mut journal = Journal::new(3, 5, [0; 32]);
    state_folder.save_state(3, 0, &state(0)).unwrap();
    for segment in 1..=2u16 {
        state_folder.save_state(3, segment, &state(segment.into())).unwrap();
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
    state_folder.write_journal(&Journal::new(12, 6, [0; 32])).unwrap();
    drop(state_folder);
    let state_folder = StateFolder::open(folder.path()).unwrap();
    assert_eq!(state_folder.journal(3).unwrap(), Some(journal));
    assert_eq!(state_folder.leases().unwrap(), [3, 12]);
    assert_eq!(state_folder.kept_leaves(3).unwrap(), [0, 1, 2]);
    assert_eq!(state_folder.load_state(3, 2, 10).unwrap(), state(2));
    state_folder.forget_lease(3).unwrap();
    assert_eq!(state_folder.leases().unwrap(), [12]);
    assert_eq!(state_folder.kept_leaves(3).unwrap(), [0u16; 0]);
    assert!(state_folder.load_state(3, 2, 10).is_err());
}

#[test]
fn states_are_thinned_to_their_budget_the_oldest_lease_first() {
    let folder = tempfile::tempdir().unwrap();
    let state_folder = StateFolder::open(folder.path()).unwrap();
    for leaf in 0..=5 {
        state_folder.save_state(9, leaf, &state(leaf.into())).unwrap();
        state_folder.save_state(10, leaf, &state(leaf.into())).unwrap();
    }
    let size = fs::metadata(folder.path().join("states/9-0.state")).unwrap().len();
    let kept = |budget: u64| {
        state_folder.thin_states(budget).unwrap();
        [9, 10].map(|nonce| state_folder.kept_leaves(nonce).unwrap())
    };
    let all: Vec<u16> = (0..=5).collect();
    assert_eq!(kept(12 * size), [all.clone(), all.clone()]);
    assert_eq!(kept(10 * size), [vec![0, 2, 4, 5], all]);
    assert_eq!(kept(8 * size), [vec![0, 2, 4, 5], vec![0, 2, 4, 5]]);
    assert_eq!(kept(6 * size), [vec![0, 4, 5], vec![0, 4, 5]]);
    assert_eq!(kept(0), [vec![0, 5], vec![0, 5]]);
}

#[test]
fn evidence_is_read_as_written_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let state_folder = StateFolder::open(folder.path()).unwrap();
    let evidence =
        Evidence::truncate_from(vec![(0, Finding::Impossible), (2, Finding::Unavailable)]);
    for audit in [4, 40] {
        state_folder.write_evidence(audit, &evidence, &[7; 32]).unwrap();
    }
    drop(state_folder);
    let state_folder = StateFolder::open(folder.path()).unwrap();
    assert_eq!(state_folder.evidence(4).unwrap(), Some((evidence, [7; 32])));
    assert_eq!(state_folder.evidence(5).unwrap(), None);
    assert_eq!(state_folder.retain_evidence(&[40].into()).unwrap(), [4]);
    assert_eq!(state_folder.evidence(4).unwrap(), None);
    let path = folder.path().join("audits/40");
    let mut bytes = fs::read(&path).unwrap();
    bytes[3] ^= 1;
    fs::write(&path, bytes).unwrap();
    assert!(state_folder.evidence(40).unwrap_err().to_string().contains("seats"));
}

#[test]
fn only_the_carry_in_force_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let state_folder = StateFolder::open(folder.path()).unwrap();
    let (old, new) = (state(1), state(2));
    state_folder.save_carry(&old).unwrap();
    state_folder.save_carry(&new).unwrap();
    state_folder.retain_carry(&new.carry().hash()).unwrap();
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
    fs::write(folder.path().join("chain"), [0xff, 0xfe]).unwrap();
    assert!(state_folder.claim(&[1; 32]).is_err());
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
fn damaged_files_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let state_folder = StateFolder::open(folder.path()).unwrap();
    let path = folder.path().join("states/3.json");
    fs::write(&path, "{").unwrap();
    let message = state_folder.journal(3).unwrap_err().to_string();
    assert!(message.contains("3.json is damaged"), "{message}");
    state_folder
        .write_journal(&Journal { losses: vec![1.25], ..Journal::new(3, 4, [0; 32]) })
        .unwrap();
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("1.25", "1.26")).unwrap();
    assert!(state_folder.journal(3).unwrap_err().to_string().contains("checksum"));
    fs::write(folder.path().join("peer.key"), "short").unwrap();
    assert!(state_folder.peer_secret().is_err());
}

#[test]
fn the_peer_keeps_its_identity_and_its_secret() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let state_folder = StateFolder::open(folder.path()).unwrap();
    assert_eq!(state_folder.peer_secret().unwrap(), state_folder.peer_secret().unwrap());
    let mode = fs::metadata(folder.path().join("peer.key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o077, 0);
}
