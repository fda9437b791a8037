// SPDX-License-Identifier: Apache-2.0

use super::*;

#[test]
fn a_commitment_binds_all_evidence() {
    let evidence = |finding| Evidence::truncate_from(vec![(0, finding)]);
    let of = |account: u8, genesis: u8, audit, evidence: &Evidence, salt: u8| {
        evidence_commitment(&[account; 32], &[genesis; 32], audit, evidence, &[salt; 32])
    };
    let found = evidence(replayed(&[7], true));
    let commitment = of(1, 2, 3, &found, 4);
    assert_eq!(commitment, of(1, 2, 3, &found, 4));
    let larger = UpdateMeasurement { gain: 1, ..Default::default() };
    for other in [
        of(9, 2, 3, &found, 4),
        of(1, 9, 3, &found, 4),
        of(1, 2, 9, &found, 4),
        of(1, 2, 3, &found, 9),
        of(1, 2, 3, &Evidence::new(), 4),
        of(1, 2, 3, &evidence(replayed(&[8], true)), 4),
        of(1, 2, 3, &evidence(replayed(&[7], false)), 4),
        of(1, 2, 3, &evidence(replayed(&[7, 7], true)), 4),
        of(1, 2, 3, &evidence(measured(larger)), 4),
        of(1, 2, 3, &evidence(Finding::Impossible), 4),
        of(1, 2, 3, &evidence(Finding::Unavailable), 4),
        of(1, 2, 3, &Evidence::truncate_from(vec![(1, replayed(&[7], true))]), 4),
    ] {
        assert_ne!(commitment, other);
    }
    // An account's bytes cannot pass for the beginning of what follows them.
    let account = |bytes: &[u8]| evidence_commitment(bytes, &[0; 32], 0, &found, &[0; 32]);
    assert_ne!(account(&[0; 31]), account(&[0; 32]));
}

#[test]
fn what_the_chain_stores_is_small() {
    type Account = [u8; 32];
    assert!(Case::<Account>::max_encoded_len() <= 640, "{}", Case::<Account>::max_encoded_len());
    assert!(
        Audit::<Account>::max_encoded_len() <= 80 * 1_024,
        "{}",
        Audit::<Account>::max_encoded_len()
    );
    assert!(
        PendingAudit::<Account>::max_encoded_len() <= 640,
        "{}",
        PendingAudit::<Account>::max_encoded_len()
    );
    assert!(AuditResponse::max_encoded_len() <= 3 * 1_024, "{}", AuditResponse::max_encoded_len());
    assert!(Finding::max_encoded_len() <= 2 * 1_024, "{}", Finding::max_encoded_len());
    assert!(Evidence::max_encoded_len() <= 128 * 1_024, "{}", Evidence::max_encoded_len());
}

#[test]
fn the_largest_of_each_fits_its_bound() {
    let stakes: Vec<([u8; 32], Balance)> = (0..2_000u32)
        .map(|account| (crate::digest(b"account", &account), Balance::MAX / 4_096))
        .collect();
    let config = AuditConfig { seats: 15, more_seats: 16, segments: 4, ..Default::default() };
    let updates: Vec<_> = (0..64u8)
        .map(|index| PendingAudit {
            draw: 1,
            known: BoundedVec::truncate_from((0..20).collect()),
            disputed: BoundedVec::truncate_from(vec![10, 11, 12]),
            earlier: BoundedVec::truncate_from(vec![
                EarlierSeat {
                    account: [9; 32],
                    opinion: Some(Verdict::Invalid)
                };
                16
            ]),
            ..PendingAudit::first(u32::MAX, [index; 32], index, 64)
        })
        .collect();
    let mut stakes = stakes;
    stakes.sort();
    let audit = Audit::draw(
        &config,
        [9; 32],
        u32::MAX,
        &updates,
        &stakes,
        vec![ShardId { manifest: 1, index: 1 }; 16],
        MAX_AUDITED_SEGMENTS,
    );
    assert!(
        audit.holders.len() > 600
            && audit.cases.iter().all(|case| case.seats.len() == 16 && case.segments.len() == 4)
    );
    assert!(audit.encode().len() <= Audit::<[u8; 32]>::max_encoded_len());
    assert_eq!(Audit::decode(&mut &audit.encode()[..]), Ok(audit));

    let measure = UpdateMeasurement {
        shards: BoundedVec::truncate_from(vec![i32::MIN; 64]),
        ..Default::default()
    };
    let finding = Finding::Replayed {
        ends: BoundedVec::truncate_from(vec![[1; 32]; 4]),
        packed: true,
        measure,
    };
    let evidence = Evidence::truncate_from((0..64).map(|at| (at, finding.clone())).collect());
    assert!(evidence.encode().len() <= Evidence::max_encoded_len());
    assert_eq!(Evidence::decode(&mut &evidence.encode()[..]), Ok(evidence.clone()));
    let mut cut = evidence.encode();
    cut.pop();
    assert!(Evidence::decode(&mut &cut[..]).is_err());
}

#[test]
fn evidence_on_too_many_cases_is_refused() {
    let many = vec![(0u8, Finding::Impossible); 65].encode();
    assert!(Evidence::decode(&mut &many[..]).is_err());
}
