// SPDX-License-Identifier: Apache-2.0

//! Full disks: what fails on one goes on once there is room, and gives the same.

use crate::{
    common::{run, stdout},
    prose::{assert_same, files, prose, rows},
};
use pol_corpus::{
    RawStore,
    filters::{CleanConfig, Preset},
    pipeline::{PipelineConfig, Progress, References, Stage, Supply},
};
use pol_data::{DataError, EndOfText, IngestConfig, MIN_VOCABULARY, ingest};
use pol_mock_services::HubData;
use std::{
    env,
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

/// Environment variable of a test that runs in a mount namespace of its own.
const PRIVATE: &str = "POL_TRAINER_TEST_DISK";
/// Words of the operating system for a full disk.
const FULL: &str = "No space left on device";

/// Returns a folder on a disk of 48 MiB: a file system in memory, which only a process of its own
/// sees. Elsewhere it runs the test again in such a process, and returns `None`.
fn private_disk(test: &str) -> Option<PathBuf> {
    if let Some(disk) = env::var_os(PRIVATE) {
        return Some(disk.into());
    }
    let disk = tempfile::tempdir().unwrap();
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--mount", "sh", "-ec"]).env(PRIVATE, disk.path());
    let script = "mount -t tmpfs -o size=48m tmpfs \"$POL_TRAINER_TEST_DISK\"\nexec \"$0\" \"$@\"";
    command.arg(script).arg(env::current_exe().unwrap()).args(["--exact", test, "--nocapture"]);
    let status = command.status().unwrap();
    assert!(status.success(), "this test needs unshare(1), and mounts in namespaces: {status}");
    None
}

/// File that takes all of a disk but some bytes, until it is dropped.
struct Filler(PathBuf);

impl Filler {
    fn leave(disk: &Path, bytes: u64) -> Self {
        let path = disk.join("filler");
        let mut file = File::create(&path).unwrap();
        for size in [1 << 16, 1 << 10, 1] {
            let piece = vec![0; size];
            while file.write_all(&piece).is_ok() {}
        }
        let length = file.metadata().unwrap().len();
        file.set_len(length.checked_sub(bytes).unwrap()).unwrap();
        Self(path)
    }
}

impl Drop for Filler {
    fn drop(&mut self) {
        fs::remove_file(&self.0).unwrap();
    }
}

fn ingestion(texts: &Path, out: PathBuf) -> IngestConfig {
    IngestConfig {
        inputs: vec![Supply::Path(texts.to_owned())],
        out,
        corpus: PipelineConfig {
            clean: CleanConfig::of(Preset::Web),
            repeats: Some(Default::default()),
            held_out: 100_000,
            ..PipelineConfig::default()
        },
        text_fields: Vec::new(),
        vocabulary: 600,
        sequence: 16,
        shard_tokens: 64,
        tokenizer: None,
        end_of_text: EndOfText::Known,
        force: false,
        lineage: None,
    }
}

#[test]
fn an_ingestion_goes_on_when_the_disk_has_room_again() {
    let Some(disk) = private_disk("full_disk::an_ingestion_goes_on_when_the_disk_has_room_again")
    else {
        return;
    };
    let roomy = tempfile::tempdir().unwrap();
    let texts = roomy.path().join("rows.jsonl");
    fs::write(&texts, rows(800)).unwrap();
    let undisturbed = roomy.path().join("data");
    let make = |out: &Path, watch: &(dyn Fn(Progress) + Sync)| {
        ingest(&ingestion(&texts, out.to_owned()), References::default(), watch)
    };
    make(&undisturbed, &|_| ()).unwrap();

    let out = disk.join("data");
    let is_full = |error: DataError| assert!(error.to_string().contains(FULL), "{error}");
    for stage in [Stage::Reading, Stage::Comparing, Stage::Repeats, Stage::Tokenizer, Stage::Tokens]
    {
        let filler = OnceLock::new();
        let fill = |progress: Progress| {
            if progress.stage == stage {
                filler.get_or_init(|| Filler::leave(&disk, 0));
            }
        };
        is_full(make(&out, &fill).unwrap_err());
        assert!(filler.get().is_some() && !out.exists(), "{stage:?}");
        // It is too early.
        is_full(make(&out, &|_| ()).unwrap_err());
    }
    make(&out, &|_| ()).unwrap();
    assert_same(&files(&out), &files(&undisturbed));
    assert_eq!(fs::read_dir(&disk).unwrap().count(), 1, "nothing but the output stays");
}

/// Acquires a data set of a hub into `out`. Returns its outcome, and fails with its error.
fn acquire(folder: &Path, hub: &str, out: &Path) -> Result<String, String> {
    let config = folder.join("acquire.toml");
    let text = format!(
        "out = {out:?}\ntokenizer = \"first/tokenizer.json\"\nsequence = 16\nshard_tokens = 64\n\
         [[source]]\nname = \"set\"\nkind = \"dataset\"\n\
         hub = {{ id = \"org/set\", files = [\"rows.jsonl\"], endpoint = \"{hub}\" }}\n"
    );
    fs::write(&config, text).unwrap();
    let output = run(&["data", "acquire", "--config", config.to_str().unwrap()]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() { Ok(stdout(&output)) } else { Err(said) }
}

#[test]
fn a_hub_and_its_store_go_on_when_the_disk_has_room_again() {
    let test = "full_disk::a_hub_and_its_store_go_on_when_the_disk_has_room_again";
    let Some(disk) = private_disk(test) else { return };
    let roomy = tempfile::tempdir().unwrap();
    let path = |name: &str| roomy.path().join(name);
    fs::write(path("text.txt"), prose(1 << 21, 90)).unwrap();
    let (text, first) = (path("text.txt"), path("first"));
    let vocabulary = MIN_VOCABULARY.to_string();
    let ingested = ["data", "ingest", "--input", text.to_str().unwrap(), "--held-out", "0"];
    let sizes = ["--sequence", "16", "--shard-tokens", "64", "--vocabulary", &vocabulary];
    stdout(&run(&[&ingested[..], &sizes, &["--out", first.to_str().unwrap()]].concat()));
    let hub = HubData::default().file("rows.jsonl", rows(800).into_bytes()).start();
    acquire(roomy.path(), &hub.address, &path("out")).unwrap();

    // The room grows a little with each run, so that all steps meet a full disk.
    let out = disk.join("out");
    let (mut errors, mut room) = (Vec::new(), 0);
    while room < 16 << 20 {
        let _filler = Filler::leave(&disk, room);
        match acquire(roomy.path(), &hub.address, &out) {
            Ok(_) => break,
            Err(error) => errors.push(error),
        }
        room += (room / 8).max(16 << 10);
    }
    assert!(errors.iter().all(|error| error.contains(FULL)), "{errors:#?}");
    for step in ["/cache/", "/raw/", "/.ingest-"] {
        assert!(errors.iter().any(|error| error.contains(step)), "{step}: {errors:#?}");
    }
    let resumed = hub.requests().iter().filter(|request| request.header("range").is_some()).count();
    assert!(resumed > 1, "downloads go on where they failed");

    // Texts and tokens are the same. The time of the requests, which the records have, is not.
    let documents = |out: &Path| {
        let store = RawStore::create_or_open(out.join("set/raw")).unwrap();
        let documents = store.documents().map(|document| document.unwrap());
        documents.map(|document| (document.origin.part, document.bytes)).collect::<Vec<_>>()
    };
    assert!(documents(&out) == documents(&path("out")));
    assert_eq!(documents(&out).len(), 800);
    for side in ["train", "held-out"] {
        let made = |out: &Path| files(&out.join("set/data").join(side));
        assert_same(&made(&out), &made(&path("out")));
    }
}
