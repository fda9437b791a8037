// SPDX-License-Identifier: Apache-2.0

//! Manifests that are made from others, and documents that lead to their manifests, by the chain
//! alone: about two minutes.

use crate::{
    harness::Network,
    process::{POLL_INTERVAL, Process},
};
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread::sleep,
};

/// Account that makes data from those of alice.
const ACCOUNT: [&str; 2] = ["--dev-account", "trainer-8"];
/// Times that a proof is verified until the manifest is in a final block.
const TRIES: usize = 120;
/// Bytes that are another in forged proofs: one of so many.
const FORGED_STEP: usize = 997;

#[test]
fn manifests_lead_to_their_parents_and_documents_to_their_manifests() {
    let network = Network::new();
    let node = network.ready_node();
    let data = network.prepare(2);
    network.check_proofs(&data);
    network.check_opt_outs(&data);
    network.state_parents(&data);
    network.take_parents_over(&data);
    let validator = network.fetch_held_out(&data);
    network.check_final_state([node, validator]);
}

impl Network {
    /// Checks that who has no data keeps the same documents out of new data as the provider does,
    /// by the held-out text that members serve. Returns the member.
    fn fetch_held_out(&self, data: &Path) -> Process {
        let validator = self.validator(data);
        self.wait_for_model(&[&validator]);
        let (texts, held_out) = (self.path("texts"), self.path("held-out.jsonl"));
        self.run(&["data", "fetch-held-out", "--out", held_out.to_str().unwrap()]);
        let kept_out = [data, &held_out].map(|path| {
            let out = self.path("without");
            let [texts, path, out_text] =
                [texts.as_path(), path, out.as_path()].map(|path| path.to_str().unwrap());
            let sizes = ["--vocabulary", "512", "--sequence", "32", "--shard-tokens", "512"];
            let ingest = ["data", "ingest", "--input", texts, "--out", out_text, "--force"];
            let rest = ["--held-out", "0", "--decontaminate", path];
            self.run(&[&ingest[..], &sizes, &rest].concat());
            let report = fs::read(out.join("report.json")).unwrap();
            let report: Value = serde_json::from_slice(&report).unwrap();
            report["dropped"]["contamination"].as_u64().unwrap()
        });
        assert!(kept_out[0] > 0 && kept_out[0] == kept_out[1], "{kept_out:?}");
        validator
    }

    /// Checks that a program that has nothing of ours says the same about documents as `data
    /// verify`, and refuses forged proofs.
    fn check_proofs(&self, data: &Path) {
        if Command::new("python3").arg("--version").output().is_err() {
            eprintln!("skipped: there is no python3");
            return;
        }
        let other = self.path("other.txt");
        fs::write(&other, "A text that nobody read.").unwrap();
        let (proof, data) = (self.path("proof.json"), data.to_str().unwrap());
        let proof = proof.to_str().unwrap();
        let mut presences = Vec::new();
        for document in self.texts_of_network().into_iter().chain([other]) {
            let document = document.to_str().unwrap();
            self.run(&["data", "prove", document, "--data", data, "--out", proof]);
            let verify = ["data", "verify", proof, "--document", document, "--json"];
            let verified = self.run_json(&verify);
            let shown = self.reference_once_final(document, proof);
            for field in ["document", "manifest", "presence", "shards", "records"] {
                assert_eq!(shown[field], verified[field], "{document}: {field}");
            }
            assert_eq!(shown["status"], "admitted");
            presences.push(shown["presence"].as_str().unwrap().to_owned());
            let another = self.reference(&"07".repeat(32), proof);
            assert!(another["reason"].as_str().unwrap().contains("another document"), "{another}");
        }
        assert_eq!(presences, ["in", "in", "in", "in", "not in"]);

        let documents = self.texts_of_network();
        let document = documents[0].to_str().unwrap();
        self.run(&["data", "prove", document, "--data", data, "--out", proof]);
        let honest = fs::read(proof).unwrap();
        for at in (0..honest.len()).step_by(FORGED_STEP) {
            let mut forged = honest.clone();
            forged[at] ^= 1;
            fs::write(proof, &forged).unwrap();
            assert_eq!(self.reference(document, proof)["proved"], false, "byte {at} is another");
        }
    }

    /// Returns what the program that has nothing of ours says about a proof.
    fn reference(&self, document: &str, proof: &str) -> Value {
        let script =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/reference/verify-proof.py");
        let mut command = Command::new("python3");
        command.arg(script).args(["--node", &self.node_url(), "--json"]);
        let output = command.args(["--document", document, proof]).output().unwrap();
        let shown: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        assert_eq!(shown["proved"], output.status.success(), "{output:?}");
        shown
    }

    /// Returns what it says once the manifest is in a final block.
    fn reference_once_final(&self, document: &str, proof: &str) -> Value {
        for _ in 0..TRIES {
            let shown = self.reference(document, proof);
            if shown["proved"] == true {
                return shown;
            }
            let reason = shown["reason"].as_str().unwrap();
            assert!(reason.contains("has admitted no manifest"), "{reason}");
            sleep(POLL_INTERVAL);
        }
        panic!("the manifest does not become final")
    }

    /// Returns the texts of the network's data.
    fn texts_of_network(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.path("texts")).unwrap();
        let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        paths
    }

    /// Checks that a document that is opted out leads to its manifest and its shards.
    fn check_opt_outs(&self, data: &Path) {
        let (list, text) = (self.path("opt-out.txt"), self.texts_of_network().remove(0));
        let hash = blake3::hash(&fs::read(&text).unwrap()).to_hex();
        fs::write(&list, format!("hash {hash}\n")).unwrap();
        let (list, data) = (list.to_str().unwrap(), data.to_str().unwrap());
        let affected = self.run_json(&["data", "opt-outs", "--list", list, data, "--json"]);
        let proof = self.path("proof.json");
        let proof = proof.to_str().unwrap();
        self.run(&["data", "prove", text.to_str().unwrap(), "--data", data, "--out", proof]);
        let proved = self.run_json(&["data", "verify", proof, "--json"]);
        assert_eq!(affected["manifest"], proved["manifest"]);
        assert_eq!(
            (&affected["status"], &affected["shards"]),
            (&"admitted".into(), &proved["shards"])
        );
    }

    /// Registers data with a parent that is stated. None can be made from a manifest that is not
    /// there, or that was retired for an opt-out.
    fn state_parents(&self, data: &Path) {
        let (texts, own) = (self.path("other-texts"), self.path("own"));
        fs::create_dir(&texts).unwrap();
        for play in Self::plays().iter().skip(4).take(2) {
            fs::copy(play, texts.join(play.file_name().unwrap())).unwrap();
        }
        let tokenizer = data.join("tokenizer.json");
        let [texts, own, tokenizer] =
            [&texts, &own, &tokenizer].map(|path| path.to_str().unwrap().to_owned());
        let ingest = ["data", "ingest", "--input", &texts, "--out", &own, "--sequence", "32"];
        let usual = ["--tokenizer", &tokenizer, "--shard-tokens", "512", "--held-out", "40"];
        self.run(&[&ingest[..], &usual].concat());

        let refused = self.register(&own, &["--parent", "4000000"]).unwrap_err();
        assert!(refused.contains("manifest 4000000, which the chain does not have"), "{refused}");
        let refused = self.register(&own, &["--activity", "selection"]).unwrap_err();
        assert!(refused.contains("and none is named"), "{refused}");
        self.register(&own, &["--parent", "0", "--activity", "transformation"]).unwrap();
        let listed = self.listed(&[]);
        let [.., train, held_out] = listed.as_slice() else { panic!("{listed:?}") };
        for made in [train, held_out] {
            assert_eq!(made["parents"].to_string(), "[0]", "{made}");
            assert_eq!(made["activity"], "transformation", "{made}");
        }
        let is_child = |manifest: &&Value| manifest["parents"] == serde_json::json!([0]);
        let children: Vec<_> = listed.iter().filter(is_child).cloned().collect();
        assert_eq!(self.listed(&["--parent", "0"]), children);
        let none = self.run(&["data", "list", "--parent", &held_out["id"].to_string()]);
        assert!(none.contains("no manifest names manifest"), "{none}");
        let refused = self.try_run(&["data", "list", "--parent", "4000000"]);
        let refused = String::from_utf8(refused.stderr).unwrap();
        assert!(refused.contains("the chain has no manifest 4000000"), "{refused}");
        let refused = self.register(&own, &["--parent", "1"]).unwrap_err();
        assert!(refused.contains("registered before as transformation from [0]"), "{refused}");

        let [train, source, held_out] =
            [&train["id"], &train["source"], &held_out["id"]].map(ToString::to_string);
        self.govern(["data", "retire"], &[&held_out, "--reason", "opt-out"]);
        let withdraw = ["data", "withdraw", &train, "--source", &source, "--yes"];
        self.run(&[&withdraw[..], &ACCOUNT].concat());
        let refused = self.register(&own, &["--parent", &held_out]).unwrap_err();
        let expected = format!("manifest {held_out}, which was retired (opt-out)");
        assert!(refused.contains(&expected), "{refused}");
    }

    /// Registers data that are made of a manifest by its description: it is their parent. Once it
    /// is retired for an opt-out, they are not admitted, and not registered again.
    fn take_parents_over(&self, data: &Path) {
        let (description, config) = (data.join("manifest.json"), self.path("derived.toml"));
        let described = self.run(&["data", "describe", "0", "--data", data.to_str().unwrap()]);
        fs::write(&description, described).unwrap();
        let usual = "tokenizer = \"data/tokenizer.json\"\nsequence = 32\nshard_tokens = 512\n\
                     held_out = 0\nout = \"derived\"";
        let source = "[[source]]\nname = \"some\"\nkind = \"dataset\"\nmax_documents = 2";
        let text = format!("{usual}\n{source}\ncroissant = {{ file = {description:?} }}\n");
        fs::write(&config, text).unwrap();
        self.run(&["data", "acquire", "--config", config.to_str().unwrap()]);
        let derived = self.path("derived/some/data");
        let derived = derived.to_str().unwrap();
        self.register(derived, &[]).unwrap();
        let listed = self.listed(&[]);
        let child = listed.last().unwrap();
        assert_eq!(child["parents"].to_string(), "[0]", "{child}");
        assert_eq!(child["activity"], "selection", "{child}");

        self.govern(["data", "retire"], &["0", "--reason", "opt-out"]);
        let child = child["id"].to_string();
        let admit = ["data", "admit", &child, "--dev-account", "alice"];
        let refused = String::from_utf8(self.try_run(&admit).stderr).unwrap();
        assert!(refused.contains("ParentRetired"), "{refused}");
        self.run(&[&["data", "withdraw", &child, "--yes"][..], &ACCOUNT].concat());
        let refused = self.register(derived, &[]).unwrap_err();
        assert!(refused.contains("manifest 0, which was retired (opt-out)"), "{refused}");
    }

    /// Registers data of the account. Fails with what is said.
    fn register(&self, data: &str, more: &[&str]) -> Result<(), String> {
        let register = ["data", "register", "--data", data];
        let output = self.try_run(&[&register[..], &ACCOUNT, more].concat());
        let said = String::from_utf8(output.stderr).unwrap();
        if output.status.success() { Ok(()) } else { Err(said) }
    }

    /// Returns the manifests on the chain that the options choose.
    fn listed(&self, more: &[&str]) -> Vec<Value> {
        let listed = self.run(&[&["data", "list", "--json"][..], more].concat());
        listed.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}
