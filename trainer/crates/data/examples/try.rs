fn main() {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let options = pol_data::IngestOptions::new(vec![args[0].clone().into()], args[1].clone().into());
    let start = std::time::Instant::now();
    println!("{:#?}\n{:?}", pol_data::ingest(&options, &indicatif::ProgressBar::hidden()), start.elapsed());
}
