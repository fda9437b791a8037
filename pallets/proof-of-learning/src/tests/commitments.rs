// SPDX-License-Identifier: Apache-2.0

//! Commitments and reveals.

use crate::{mock::*, pallet::*};
use pol_primitives::{
    metrics::{MetricsClaim, ModelMetrics},
    recipe::Tier,
    round::Phase,
    submission::{Reveal, RevealRecord, Submission, SubmissionStatus, TrainingClaims},
    trace::{MerkleProof, merkle_proof, merkle_root, state_leaf},
};
use polkadot_sdk::frame_support::{assert_noop, assert_ok};

fn commits(account: AccountId, round: u32, error: Error<Test>) {
    assert_noop!(
        Learning::commit(signed(account), round, [9; 32], TrainingClaims::default()),
        error
    );
}

fn reveals(account: AccountId, round: u32, reveal: Reveal, error: Error<Test>) {
    assert_noop!(Learning::reveal(signed(account), round, reveal), error);
}

/// Asserts that the first trainer's reveal with `change` is refused after it committed to it.
fn opens(change: impl FnOnce(&mut Reveal), error: Error<Test>) {
    in_round_one(|| {
        join(1);
        let mut reveal = work(1, 4);
        change(&mut reveal);
        assert_ok!(Learning::commit(
            signed(1),
            1,
            commitment(1, &reveal),
            TrainingClaims::default()
        ));
        run_until(Phase::Reveal);
        reveals(1, 1, reveal, error);
    });
}

#[test]
fn a_commitment_is_kept_as_it_is() {
    in_round_one(|| {
        join(1);
        let metrics = Some(MetricsClaim {
            round: 0,
            metrics: ModelMetrics { loss: 4, reasoning: Some(u32::MAX), ..Default::default() },
        });
        let claims = TrainingClaims { first_loss: 3, last_loss: 2, tokens_per_second: 1, metrics };
        assert_ok!(Learning::commit(signed(1), 1, [9; 32], claims));
        assert_event(Event::Committed { account: 1, round: 1 });
        let expected = Submission {
            commitment: [9; 32],
            tier: Tier::Participant,
            staleness: 0,
            claims,
            data_hash: lease_of(1).data_hash(),
            status: SubmissionStatus::Committed,
            opened: None,
        };
        assert_eq!(Learning::submissions(1), [(1, expected)]);
        assert_eq!(round().committed, 1);
        commits(1, 1, Error::AlreadyCommitted);
    });
}

#[test]
fn commitments_have_their_round_and_time() {
    in_round_one(|| {
        commits(1, 1, Error::NoLease);
        join(1);
        commits(1, 0, Error::WrongRound);
        commits(1, 2, Error::WrongRound);
        join(2);
        commit(2);
        run(19);
        assert_eq!(round().phase, Phase::Train);
        run(1);
        commits(1, 1, Error::NotTraining);
    });
}

#[test]
fn a_lease_of_a_past_round_cannot_commit() {
    in_round_one(|| {
        join(1);
        train(&[2]);
        adopt([5; 32]);
        run(1);
        commits(1, 2, Error::NotDue);
    });
}

#[test]
fn an_opening_is_kept_with_what_it_earns() {
    in_round_one(|| {
        join(1);
        join(2);
        let second = commit(2);
        // Half of the segments: fewer tokens, still valid.
        let first = work(1, 2);
        assert_ok!(Learning::commit(
            signed(1),
            1,
            commitment(1, &first),
            TrainingClaims::default()
        ));
        run_until(Phase::Reveal);
        for (index, account, reveal, tokens) in [(0, 2, second, 8_192), (1, 1, first, 4_096)] {
            assert_ok!(Learning::reveal(signed(account), 1, reveal.clone()));
            let Reveal { payload_hash, trace_root, carry_hash, steps, .. } = reveal;
            assert_event(Event::Revealed { account, round: 1, payload_hash, index });
            let submission = Submissions::<Test>::get(1, account).unwrap();
            let opened =
                RevealRecord { index, payload_hash, trace_root, carry_hash, steps, tokens };
            assert_eq!(
                (submission.opened, submission.status),
                (Some(opened), SubmissionStatus::Revealed)
            );
        }
        assert_eq!((round().revealed, Revealed::<Test>::get().to_vec()), (2, vec![2, 1]));
        reveals(1, 1, work(1, 2), Error::AlreadyRevealed);
    });
}

#[test]
fn openings_have_their_round_and_time() {
    in_round_one(|| {
        join(1);
        join(2);
        let reveal = commit(1);
        reveals(1, 1, reveal.clone(), Error::NotRevealing);
        run_until(Phase::Reveal);
        reveals(1, 0, reveal.clone(), Error::WrongRound);
        reveals(2, 1, work(2, 4), Error::NotCommitted);
        assert_ok!(Learning::reveal(signed(1), 1, reveal.clone()));
        run_until(Phase::Hold);
        reveals(1, 1, reveal, Error::NotRevealing);
    });
}

#[test]
fn another_opening_than_the_committed_one_is_refused() {
    in_round_one(|| {
        join(1);
        let reveal = commit(1);
        run_until(Phase::Reveal);
        for changed in [
            Reveal { payload_hash: [0; 32], ..reveal.clone() },
            Reveal { trace_root: [0; 32], ..reveal.clone() },
            Reveal { carry_hash: [0; 32], ..reveal.clone() },
            Reveal { steps: 2, ..reveal.clone() },
            Reveal { salt: [0; 32], ..reveal.clone() },
        ] {
            reveals(1, 1, changed, Error::WrongOpening);
        }
        assert_ok!(Learning::reveal(signed(1), 1, reveal));
    });
}

#[test]
fn a_copied_commitment_cannot_be_opened() {
    in_round_one(|| {
        join(1);
        join(2);
        let reveal = commit(1);
        assert_ok!(Learning::commit(
            signed(2),
            1,
            commitment(1, &reveal),
            TrainingClaims::default()
        ));
        run_until(Phase::Reveal);
        assert_ok!(Learning::reveal(signed(1), 1, reveal.clone()));
        reveals(2, 1, reveal, Error::WrongOpening);
    });
}

#[test]
fn a_commitment_of_another_round_cannot_be_opened() {
    in_round_one(|| {
        join(1);
        let early = commitment(1, &work(1, 4));
        run(20);
        run(1);
        join(1);
        assert_ok!(Learning::commit(signed(1), 2, early, TrainingClaims::default()));
        run_until(Phase::Reveal);
        reveals(1, 2, work(1, 4), Error::WrongOpening);
    });
}

#[test]
fn steps_are_whole_segments_of_the_lease() {
    opens(|reveal| reveal.steps = 0, Error::WrongSteps);
    opens(|reveal| reveal.steps = 7, Error::WrongSteps);
    opens(|reveal| reveal.steps = 10, Error::WrongSteps);
    opens(|reveal| reveal.steps = u16::MAX, Error::WrongSteps);
}

#[test]
fn the_trace_starts_from_the_head_and_the_carry() {
    // A trace of an invented optimiser state, with a valid proof.
    opens(
        |reveal| {
            let leaves = [state_leaf(&[3; 32], &[8; 32]), [1; 32], [2; 32], [3; 32], [4; 32]];
            reveal.trace_root = merkle_root(&leaves);
            reveal.first_leaf = merkle_proof(&leaves, 0).unwrap();
        },
        Error::WrongFirstLeaf,
    );
    opens(|reveal| reveal.first_leaf = MerkleProof::new(), Error::WrongFirstLeaf);
    // Fewer segments than the trace has.
    opens(|reveal| reveal.steps = 4, Error::WrongFirstLeaf);
}

#[test]
fn a_payload_is_not_accepted_for_a_later_lease() {
    in_round_one(|| {
        train(&[1]);
        let payload_hash = work(1, 4).payload_hash;
        adopt([5; 32]);
        run(1);
        join(2);
        let reveal = Reveal { payload_hash, ..work(2, 4) };
        assert_ok!(Learning::commit(
            signed(2),
            2,
            commitment(2, &reveal),
            TrainingClaims::default()
        ));
        run_until(Phase::Reveal);
        reveals(2, 2, reveal, Error::PayloadSeen);
    });
}

#[test]
fn nobody_keeps_a_trainer_from_revealing_by_revealing_its_payload_before() {
    in_round_one(|| {
        [1, 2].into_iter().for_each(join);
        let honest = commit(2);
        // Another member trained the public lease of account 2 faster.
        let stolen = Reveal { payload_hash: honest.payload_hash, ..work(1, 4) };
        assert_ok!(Learning::commit(
            signed(1),
            1,
            commitment(1, &stolen),
            TrainingClaims::default()
        ));
        run_until(Phase::Reveal);
        assert_ok!(Learning::reveal(signed(1), 1, stolen));
        assert_ok!(Learning::reveal(signed(2), 1, honest));
        assert_eq!(round().revealed, 2);
    });
}
