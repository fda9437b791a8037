use pol_engine::*; use pol_primitives::{*, recipe::*, lease::Lease, data::ShardId, model::*};
use pol_data::ShardFolder;
fn main() {
    determinism::ensure(determinism::Mode::Exact).unwrap();
    let a: Vec<String> = std::env::args().collect();
    let (peak, top_k, outer, accum, steps, rounds, trainers): (u64,u16,u32,u16,u16,u32,u8) = (a[1].parse().unwrap(), a[2].parse().unwrap(), a[3].parse().unwrap(), a[4].parse().unwrap(), a[5].parse().unwrap(), a[6].parse().unwrap(), a[7].parse().unwrap());
    let micro = 8;
    let t = TierParameters { micro_batch: micro, accumulation: accum, inner_steps: steps, cadence: 1 };
    let r = Recipe { model: ModelSpec::Gpt2(Gpt2Spec{vocabulary:8192,width:128,layers:4,heads:4,feed_forward:512,context:128}), tokenizer:[0;32], seed:[9;32], sequence:128, shard_tokens:4096, tiers:[t;4],
        optimiser: AdamW{beta1:900_000,beta2:950_000,epsilon:10,weight_decay:100_000}, schedule: Schedule{peak,warmup_steps:20,decay_tokens:0,floor:MILLION}, gradient_clip:MILLION, outer_rate:outer, compression: Compression{top_k,feedback:950_000}, segments: 10, numerics: Numerics::Exact };
    r.validate().unwrap();
    let train = ShardFolder::open("/work/build/demo-data/train".as_ref()).unwrap(); let held = ShardFolder::open("/work/build/demo-data/held-out".as_ref()).unwrap();
    let dec = |f:&ShardFolder,i| pol_data::decode_shard(&f.read(i).unwrap(), 4096, 8192).unwrap();
    let hd = LeaseData::new(&r, (0..held.len()).map(|i| dec(&held,i)).collect()).unwrap();
    let seqs: Vec<&[u32]> = (0..64u32).map(|i| hd.sequence(i*hd.sequences()/64).unwrap()).collect();
    let mut head = pol_model::initial_parameters(&r.model, &r.seed);
    let order = prf::Prf::new("tune", &[1;32], &[]).permutation(train.len());
    let per = r.shards_per_lease(Tier::Whale); let mut at = 0usize;
    let mut carry: Vec<Option<TrainingState>> = vec![None; trainers as usize];
    println!("0 {:.4}", evaluate(&r.model, &head, &seqs, 2).unwrap());
    let t0=std::time::Instant::now();
    for round in 1..=rounds {
        let mut ups = vec![];
        for tr in 0..trainers {
            let sh: Vec<ShardId> = (0..per).map(|_| { at+=1; ShardId{manifest:0,index:order[(at-1)%order.len()]} }).collect();
            let data = LeaseData::new(&r, sh.iter().map(|s| dec(&train,s.index)).collect()).unwrap();
            let mut st = match carry[tr as usize].take() { Some(c) => TrainingState{parameters: head.clone(), ..c}, None => TrainingState::fresh(head.clone()) };
            let lease = Lease{nonce:round,tier:Tier::Whale,round,due_round:round,seed:[round as u8;32],base_root:st.root(),head_tokens:0,recipe:r.hash(),carry:[0;32],shards:sh.try_into().unwrap()};
            let job = Job{recipe:&r,lease:&lease,account:&[tr;32],data:&data,workers:2};
            let mut last=0.0; for s in 0..r.segments { last = train_segment(&job,&mut st,s).unwrap().loss; }
            let local = evaluate(&r.model, &st.parameters, &seqs, 2).unwrap();
            let p = pack(&r,&head,&mut st).unwrap(); carry[tr as usize]=Some(st); ups.push((p,0)); print!("  [train {last:.3} local-heldout {local:.3}]");
        }
        head = aggregate(&r,&head,&ups).unwrap();
        println!(" {round} {:.4} {:.0}s", evaluate(&r.model,&head,&seqs,2).unwrap(), t0.elapsed().as_secs_f64());
    }
}
