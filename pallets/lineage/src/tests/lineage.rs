// SPDX-License-Identifier: Apache-2.0

//! Derivations, documents, retirements, and the queries in both directions.

use super::*;
use pol_primitives::{
    lineage::MAX_DOCUMENTS,
    queries::{MANIFESTS_PAGE, Page, RECORD_CHUNKS_PAGE},
};
use polkadot_sdk::sp_runtime::DispatchResult;

/// Returns a manifest of account 1 that was made from `parents`.
fn child_of(parents: &[ManifestId]) -> ManifestInfo {
    let parents = BoundedVec::truncate_from(parents.to_vec());
    ManifestInfo { parents, derivation: derivation(Activity::Selection), ..info(0, 4) }
}

fn register(info: ManifestInfo) -> DispatchResult {
    Lineage::register_manifest(Origin::signed(1), Box::new(info))
}

fn admission(id: ManifestId) -> DispatchResult {
    Lineage::admit_manifest(Origin::root(), id, SourceKind::Web)
}

fn retire(id: ManifestId, reason: RetirementReason) {
    let retirement = Retirement { reason, evidence: Some([6; 32]), for_cause: false };
    assert_ok!(Lineage::retire_manifest(Origin::root(), id, retirement));
    assert_eq!(Lineage::retirement(id), Some(retirement));
}

fn page(items: &[ManifestId]) -> Page<ManifestId> {
    Page { items: items.to_vec(), next: None }
}

#[test]
fn a_text_says_how_it_was_made() {
    run(|| {
        let source = source();
        let nameless = Derivation { tool: ToolName::new(), ..derivation(Activity::Collection) };
        let refused = register(ManifestInfo { derivation: nameless, ..info(source, 4) });
        assert_noop!(refused, PalletError::InvalidDerivation);
        for activity in [Activity::Selection, Activity::Transformation] {
            let orphan = ManifestInfo { derivation: derivation(activity), ..info(source, 4) };
            assert_noop!(register(orphan), PalletError::MissingParent);
        }
        for count in [0, MAX_DOCUMENTS + 1] {
            let documents = Some(Documents { root: [1; 32], count });
            let refused = register(ManifestInfo { documents, ..info(source, 4) });
            assert_noop!(refused, PalletError::InvalidDocuments);
        }
        assert_ok!(register(ManifestInfo { documents: None, ..info(source, 4) }));
        assert_eq!(admission(0), Ok(()));
    });
}

#[test]
fn documents_are_admitted_once_on_each_side_of_their_split() {
    run(|| {
        let source = source();
        let train = propose(info(source, 4));
        let root = documents(train).root;
        let held_out =
            ManifestInfo { held_out: true, documents: Some(documents(train)), ..info(source, 4) };
        // A proposal reserves nothing.
        let copied = propose(ManifestInfo {
            content_hash: content(99),
            documents: Some(documents(train)),
            ..info(source, 4)
        });
        assert!(Lineage::manifests_of_documents(root).is_empty());
        admit(train, SourceKind::Web);
        assert_noop!(admission(copied), PalletError::DocumentsAlreadyAdmitted);
        let again = ManifestInfo { documents: Some(documents(train)), ..info(source, 4) };
        assert_noop!(register(again), PalletError::DocumentsAlreadyAdmitted);

        let foreign = ManifestInfo { source: source_of(1), ..held_out.clone() };
        assert_noop!(register(foreign), PalletError::ForeignDocuments);
        let other = Derivation { configuration: [0; 32], ..derivation(Activity::Collection) };
        let foreign = ManifestInfo { derivation: other, ..held_out.clone() };
        assert_noop!(register(foreign), PalletError::ForeignDocuments);
        let longer = Some(Documents { count: 9, ..documents(train) });
        let foreign = ManifestInfo { documents: longer, ..held_out.clone() };
        assert_noop!(register(foreign), PalletError::ForeignDocuments);

        let pair = propose(held_out);
        admit(pair, SourceKind::Web);
        assert_eq!(Lineage::manifests_of_documents(root), [train, pair]);
        // Only an untouched manifest frees its documents.
        assert_ok!(Lineage::withdraw_manifest(Origin::signed(1), train));
        assert_eq!(Lineage::manifests_of_documents(root), [pair]);
        assert_ok!(admission(copied));
        retire(copied, RetirementReason::Quality);
        let again = ManifestInfo { documents: Some(documents(train)), ..info(source, 4) };
        assert_noop!(register(again), PalletError::DocumentsAlreadyAdmitted);
    });
}

#[test]
fn nothing_is_made_from_text_that_was_retired_for_a_cause() {
    run(|| {
        use RetirementReason::*;
        source();
        for (parent, reason) in (0..).zip([OptOut, Licence, Contamination, Quality, Unavailable]) {
            assert_eq!(propose(info(0, 4)), parent);
            admit(parent, SourceKind::Web);
            retire(parent, reason);
        }
        for barred in 0..3 {
            assert_noop!(register(child_of(&[4, barred])), PalletError::ParentRetired);
        }
        assert_ok!(register(child_of(&[3, 4])));
        assert_eq!(Lineage::manifest(5).unwrap().status, ManifestStatus::Proposed);
    });
}

#[test]
fn a_child_is_not_admitted_if_its_parent_was_retired_meanwhile() {
    run(|| {
        source();
        let parent = propose(info(0, 4));
        let child = propose(child_of(&[parent]));
        // The parent was never admitted: it is removed, and the decision stays.
        retire(parent, RetirementReason::Licence);
        assert_eq!(Lineage::manifest(parent), None);
        assert_noop!(admission(child), PalletError::ParentRetired);
        assert_noop!(register(child_of(&[parent])), PalletError::UnknownParent);
    });
}

#[test]
fn consumed_text_can_be_retired_too() {
    run(|| {
        let id = manifest(SourceKind::Web, 2);
        Lineage::consume(&Lineage::lease(2, &mut prf(1)), 1, 0, &[1, 1]);
        assert_eq!((status(id), held(1)), (ManifestStatus::Consumed, DEPOSIT));
        take_events();
        let retirement =
            Retirement { reason: RetirementReason::OptOut, evidence: None, for_cause: true };
        assert_ok!(Lineage::retire_manifest(Origin::root(), id, retirement));
        assert_eq!(take_events(), [Event::ManifestRetired { manifest: id, retirement, burned: 0 }]);
        assert_eq!((status(id), held(1)), (ManifestStatus::Retired, DEPOSIT));
        assert_noop!(register(child_of(&[id])), PalletError::ParentRetired);
        let again = Lineage::retire_manifest(Origin::root(), id, retirement);
        assert_noop!(again, PalletError::AlreadyRetired);
    });
}

#[test]
fn queries_run_in_both_directions() {
    run(|| {
        let (first, second) = (source(), source());
        let parents = [propose(info(first, 4)), propose(info(second, 4))];
        let children = [propose(child_of(&parents)), propose(child_of(&parents[..1]))];
        assert_eq!(Lineage::children(parents[0], 0), page(&children));
        assert_eq!(Lineage::children(parents[0], children[1]), page(&children[1..]));
        assert_eq!(Lineage::children(parents[1], 0), page(&children[..1]));
        assert_eq!(Lineage::children(children[1], 0), page(&[]));
        assert_eq!(Lineage::children(u32::MAX, u32::MAX), page(&[]));
        assert_eq!(Lineage::manifests_of_source(first, 0), page(&[parents[0], 2, 3]));
        assert_eq!(Lineage::manifests_of_source(second, 0), page(&[parents[1]]));
        assert_eq!(Lineage::manifests_of_source(9, 0), page(&[]));
        assert_eq!(Lineage::retirement(parents[0]), None);
    });
}

#[test]
fn an_answer_looks_at_a_bounded_number_of_manifests() {
    run(|| {
        let source = source();
        crate::ManifestCount::<Test>::put(2 * MANIFESTS_PAGE);
        let last = propose(info(source, 4));
        let mut start = 0;
        let mut pages = Vec::new();
        loop {
            let Page { items, next } = Lineage::manifests_of_source(source, start);
            pages.push(items);
            let Some(next) = next else { break };
            start = next;
        }
        assert_eq!(pages, [vec![], vec![], vec![last]]);
    });
}

#[test]
fn records_are_read_by_manifest_and_by_round() {
    run(|| {
        let chunk = crate::RECORDS_PER_CHUNK;
        let id = manifest(SourceKind::Web, chunk * (RECORD_CHUNKS_PAGE + 1));
        let mut consumed = Vec::new();
        for round in 1..=3 {
            let shards = Lineage::lease(40, &mut prf(round as u8));
            Lineage::consume(&shards, round, 7, &[round as i32; 40]);
            consumed.extend(shards.iter().map(|shard| (shard.index, round)));
        }
        consumed.sort();
        let read = |round, start: u32| {
            let (mut all, mut next) = (Vec::new(), Some(start));
            while let Some(start) = next {
                let page = Lineage::shard_records(id, round, start);
                all.extend(page.items);
                next = page.next;
            }
            all
        };
        let rounds: Vec<_> = read(None, 0).iter().map(|(at, record)| (*at, record.round)).collect();
        assert_eq!(rounds, consumed);
        let of_two: Vec<_> = read(Some(2), 0).iter().map(|(index, _)| *index).collect();
        let expected: Vec<_> = consumed.iter().filter(|(_, round)| *round == 2).collect();
        assert!(of_two.iter().eq(expected.iter().map(|(index, _)| index)));
        let (index, record) = read(None, 0)[7];
        assert_eq!(Lineage::shard_record(ShardId { manifest: id, index }), Some(record));
        assert_eq!(read(None, index).len(), consumed.len() - 7);
        assert_eq!(Lineage::shard_records(id, None, u32::MAX), Page { items: vec![], next: None });
        assert_eq!(Lineage::shard_records(9, None, 0), Page { items: vec![], next: None });
    });
}
