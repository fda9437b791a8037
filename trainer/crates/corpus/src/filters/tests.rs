// SPDX-License-Identifier: Apache-2.0

//! Rules at both sides of their limits, and properties of cleaning.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// Returns a cleaner with one rule.
fn only(rule: &str) -> Cleaner {
    let setting = Setting { on: Some(true), ..Setting::default() };
    let rules = BTreeMap::from([(rule.to_owned(), setting)]);
    Cleaner::new(&CleanConfig { preset: Preset::None, rules, ..CleanConfig::default() }).unwrap()
}

/// Asserts that a rule passes one text, drops another, and measures both so.
fn check(rule: &str, passes: (&str, u64), drops: (&str, u64)) {
    let cleaner = only(rule);
    for ((text, measured), verdict) in [(passes, Verdict::Passed), (drops, Verdict::Dropped)] {
        let cleaned = cleaner.clean(text.to_owned());
        let expected = Decision { rule: rule.to_owned().into(), verdict, measured: Some(measured) };
        assert_eq!(cleaned.decisions, [expected], "{text}");
        assert_eq!(cleaned.text.as_deref(), (verdict == Verdict::Passed).then_some(text));
    }
}

fn lines(parts: &[(&str, usize)]) -> String {
    let lines: Vec<&str> =
        parts.iter().flat_map(|&(line, count)| std::iter::repeat_n(line, count)).collect();
    lines.join("\n")
}

fn words(count: usize) -> String {
    let words: Vec<String> = (0..count).map(|number| format!("w{number}")).collect();
    words.join(" ")
}

#[test]
fn rules_on_the_whole_text_have_two_sides() {
    check("text.length", ("a", 1), ("", 0));
    let undecoded = |count: usize| "\u{FFFD}".repeat(count) + &"a".repeat(100 - count);
    check("text.undecoded", (&undecoded(1), 10_000), (&undecoded(2), 20_000));
    check("c4.lorem_ipsum", ("Lorem, ipsum", 0), ("So: LOREM ipsum dolor", 1));
    check("c4.curly_brackets", ("}(]", 0), ("f() { }", 1));
    let sentences = |count: usize| "One. ".repeat(count);
    check("c4.sentences", (&sentences(5), 5), (&sentences(4), 4));
}

#[test]
fn rules_on_lines_have_two_sides() {
    let bullets = |count| lines(&[("- a", count), ("b", 10 - count)]);
    check("gopher.bullets", (&bullets(9), 900_000), (&bullets(10), 1_000_000));
    let ellipses = |count| lines(&[("a...", count), ("b", 10 - count)]);
    check("gopher.ellipsis_lines", (&ellipses(3), 300_000), (&ellipses(4), 400_000));
    let terminal = |count| lines(&[("A.", count), ("b", 25 - count)]);
    check("fineweb.terminal_lines", (&terminal(4), 160_000), (&terminal(3), 120_000));
    let short = |count| lines(&[("a", count), (&"b".repeat(30), 100 - count)]);
    check("fineweb.short_lines", (&short(66), 660_000), (&short(67), 670_000));
    let repeated = |length: usize| format!("{0}\n{0}\n{1}", "a".repeat(10), "b".repeat(length));
    check("fineweb.duplicate_line_characters", (&repeated(81), 99_009), (&repeated(80), 100_000));
    let longest = |length: usize| format!("a\n{}", "b".repeat(length));
    check("code.longest_line", (&longest(1_000), 1_000), (&longest(1_001), 1_001));
    let mean = |length: usize| format!("{}\n\n{}", "a".repeat(100), "b".repeat(length));
    check("code.mean_line", (&mean(101), 100), (&mean(102), 101));
    check("code.alphanumeric", ("a---", 250_000), ("a----", 200_000));
}

#[test]
fn rules_on_words_have_two_sides() {
    check("gopher.words", (&words(50), 50), (&words(49), 49));
    check("gopher.words", (&words(100_000), 100_000), (&words(100_001), 100_001));
    check("gopher.mean_word_length", ("abc", 3_000_000), ("abc ab", 2_500_000));
    check("gopher.mean_word_length", ("abcdefghij", 10_000_000), ("abcdefghijk", 11_000_000));
    let signs = |sign: &str, count: usize| format!("{}{}", sign.repeat(count), words(20));
    check("gopher.hashes", (&signs("#", 2), 100_000), (&signs("#", 3), 150_000));
    check("gopher.ellipses", (&signs("…", 2), 100_000), (&signs("…", 3), 150_000));
    check("gopher.alphabetic_words", ("a b c d, 5", 800_000), ("a b c --- 5", 600_000));
    check("gopher.stop_words", ("The end of", 2), ("the THE one", 1));
}

#[test]
fn rules_on_repetition_have_two_sides() {
    let repeated = |count: usize| {
        let distinct: Vec<String> = (0..10 - count).map(|it| format!("{it:04}")).collect();
        format!("{}\n{}", distinct.join("\n"), lines(&[("0000", count)]))
    };
    check("gopher.duplicate_lines", (&repeated(3), 300_000), (&repeated(4), 400_000));
    check("gopher.duplicate_line_characters", (&repeated(2), 200_000), (&repeated(3), 300_000));
    let apart = |count| repeated(count).replace('\n', "\n\n");
    check("gopher.duplicate_paragraphs", (&apart(3), 300_000), (&apart(4), 400_000));
    let rule = "gopher.duplicate_paragraph_characters";
    check(rule, (&apart(2), 200_000), (&apart(3), 300_000));
}

#[test]
fn rules_on_sequences_have_two_sides() {
    for (length, limit) in [(2, 200), (3, 180), (4, 160)] {
        let sequence = "a ".repeat(length - 1) + "b";
        let text = |characters: usize| {
            let start = format!("{sequence} . {sequence} ");
            format!("{start}{}", "x".repeat(characters - start.len()))
        };
        // Two places of a sequence with spaces between its words.
        let characters = 2 * (2 * length - 1) * 1_000;
        let measured = |whole: usize| (characters * 1_000 / whole) as u64;
        let (most, more) = (characters.div_ceil(limit), characters / limit - 1);
        let rule = format!("gopher.top_{length}_gram");
        check(&rule, (&text(most), measured(most)), (&text(more), measured(more)));
    }
    for length in 5..11 {
        let limit = 200 - 10 * length;
        let sequence = (0..length).map(|it| format!("{it}{it}")).collect::<Vec<_>>().join(" ");
        let text = |characters: usize| {
            let start = format!("{sequence} . {sequence} ");
            format!("{start}{}", "x".repeat(characters - start.len()))
        };
        let characters = 2 * length * 1_000;
        let measured = |whole: usize| (characters * 1_000 / whole) as u64;
        let (most, more) = (characters.div_ceil(limit), characters / limit - 1);
        let rule = format!("gopher.repeated_{length}_grams");
        check(&rule, (&text(most), measured(most)), (&text(more), measured(more)));
    }
}

#[test]
fn measures_that_say_nothing_pass() {
    let japanese = "今日はとても良い天気です。明日も晴れるでしょう。".repeat(5);
    let measured = |rule: &str, text: &str| only(rule).clean(text.to_owned()).decisions[0].measured;
    assert_eq!(measured("gopher.mean_word_length", &japanese), None);
    let rules = ["language", "gopher.stop_words"]
        .map(|name| (name.to_owned(), Setting { on: Some(true), ..Setting::default() }));
    let config = CleanConfig {
        preset: Preset::None,
        rules: BTreeMap::from(rules),
        ..CleanConfig::default()
    };
    let cleaned = Cleaner::new(&config).unwrap().clean(japanese);
    assert_eq!(cleaned.language.as_deref(), Some("jpn"));
    assert_eq!(cleaned.decisions[1].measured, None);
    assert!(cleaned.text.is_some());
}

/// Page with everything that the rules for the web remove.
const PAGE: &str = "Home | News | Contact\r\n\
    We use cookies to improve your visit.\n\
    The history of the valley\u{AD}\n\n\
    The river that flows through the valley has been there for a very long time.[1] People came \
    to settle here with their herds, and they have stayed. In spring the water rises, and all of \
    the meadows turn into lakes for some days.\n\
    Please enable JavaScript to see the map.\n\n\n\n\n\
    Write to jane@valley-museum.org or call +41 44 668 18 00 if you want to visit the museum. It \
    is open on each day of the week. Nobody has to pay.\n\
    Share this on the network of your choice\n\
    12 comments";

#[test]
fn a_page_is_cleaned() {
    let cleaned = Cleaner::new(&CleanConfig::of(Preset::Web)).unwrap().clean(PAGE.to_owned());
    let text = cleaned.text.unwrap();
    assert!(text.starts_with("The history of the valley\n\nThe river that"), "{text}");
    assert!(text.contains("long time. People") && text.contains("days.\n\n\nWrite to [EMAIL] or"));
    assert!(text.ends_with(
        "call [PHONE] if you want to visit the museum. It is open on each day \
                            of the week. Nobody has to pay."
    ));
    assert_eq!(cleaned.language.as_deref(), Some("eng"));
    let changes = |rule| {
        cleaned.decisions.iter().find(|it| it.rule == rule).and_then(|it| it.measured).unwrap()
    };
    assert_eq!((changes("lines.boilerplate"), changes("c4.javascript")), (4, 1));
    assert_eq!((changes("scrub.email"), changes("scrub.phone")), (1, 1));
    assert_eq!((changes("c4.citations"), changes("text.characters")), (1, 2));
}

#[test]
fn presets_spare_their_kind_of_text() {
    let clean = |preset, text: &str| {
        Cleaner::new(&CleanConfig::of(preset)).unwrap().clean(text.to_owned()).text
    };
    let verse = "O Romeo,\nRomeo!\nwherefore art thou\nRomeo?";
    let code = "fn main() {\n    call(\"cookies\");\n}";
    let chat = "A: Hi!\nB: Hi!\nA: Lunch?\nB: Sure {smiles}";
    assert_eq!(clean(Preset::Books, verse).as_deref(), Some(verse));
    assert_eq!(clean(Preset::Code, code).as_deref(), Some(code));
    assert_eq!(clean(Preset::Dialogue, chat).as_deref(), Some(chat));
    for text in [verse, code, chat] {
        assert_eq!(clean(Preset::Web, text), None);
    }
    assert_eq!(clean(Preset::None, "\0a@b.org \n").as_deref(), Some("\0a@b.org \n"));
}

#[test]
fn the_first_rule_that_drops_is_the_last_decision() {
    let cleaned = Cleaner::new(&CleanConfig::of(Preset::Web)).unwrap().clean("{".to_owned());
    let last = cleaned.decisions.last().unwrap();
    assert_eq!((&*last.rule, last.verdict), ("text.length", Verdict::Dropped));
    assert_eq!(cleaned.text, None);
}

fn error(json: &str) -> String {
    match serde_json::from_str(json) {
        Ok(config) => Cleaner::new(&config).err().unwrap().to_string(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn wrong_configurations_say_why() {
    let unknown = error(r#"{ "rules": { "gopher.word": {} } }"#);
    assert!(unknown.contains("no `gopher.word`, but") && unknown.contains("gopher.words"));
    assert!(error(r#"{ "rules": { "gopher.words": { "min": 9, "max": 8 } } }"#).contains("above"));
    assert!(error(r#"{ "rules": { "gopher.words": { "most": 8 } } }"#).contains("`most`"));
    assert!(error(r#"{ "languages": ["english"] }"#).contains("`english`"));
    assert!(error(r#"{ "kept_domains": ["a@b.c"] }"#).contains("`a@b.c`"));
    assert!(error(r#"{ "preset": "blog" }"#).contains("`blog`"));
    assert!(error(r#"{ "presets": "web" }"#).contains("`presets`"));
}

#[test]
fn the_digest_names_the_rules_and_their_limits() {
    let digest = |json: &str| Cleaner::new(&serde_json::from_str(json).unwrap()).unwrap().digest();
    let web = digest("{}");
    assert_eq!(web, digest(r#"{ "preset": "web", "rules": { "gopher.words": { "min": 50 } } }"#));
    assert_eq!(web, digest(r#"{ "rules": { "code.mean_line": { "max": 1 } } }"#));
    for other in [
        r#"{ "preset": "none" }"#,
        r#"{ "languages": ["eng"] }"#,
        r#"{ "kept_domains": ["kernel.org"] }"#,
        r#"{ "rules": { "gopher.words": { "min": 51 } } }"#,
        r#"{ "rules": { "scrub.phone": { "on": false } } }"#,
    ] {
        assert_ne!(web, digest(other), "{other}");
    }
    assert_eq!(
        digest(r#"{ "languages": ["eng", "deu"] }"#),
        digest(r#"{ "languages": ["deu", "eng", "deu"] }"#)
    );
}

#[test]
fn a_configuration_survives_writing() {
    let json = r#"{"preset":"code","languages":["eng"],"rules":{"language":{"on":true,"min":1}}}"#;
    let config: CleanConfig = serde_json::from_str(json).unwrap();
    assert_eq!(serde_json::to_string(&config).unwrap(), json);
}

#[test]
fn rules_have_names_of_their_own() {
    let names: Vec<_> = catalogue::entries().map(|entry| entry.name).collect();
    let distinct: std::collections::BTreeSet<_> = names.iter().collect();
    assert_eq!(distinct.len(), names.len());
    let edits = catalogue::entries().take_while(|entry| entry.is_edit()).count();
    assert_eq!(edits, catalogue::entries().filter(|entry| entry.is_edit()).count());
}

#[test]
fn texts_made_to_be_slow_are_cleaned() {
    let cleaner = Cleaner::new(&CleanConfig::of(Preset::Web)).unwrap();
    for part in [
        "+1 ",
        "1.",
        "a. ",
        "é. ",
        "[",
        "[1",
        "@",
        "a@",
        "eyJ.",
        "sk-",
        "-----BEGIN ",
        "\n",
        "-----BEGIN PRIVATE KEY-----\n",
        "password=\"",
        "| ",
        "\u{301}",
        "https://",
        "4111 ",
        "tel ",
    ] {
        let text = part.repeat((1 << 16) / part.len());
        // Searches are bounded, so that none takes the square of the length.
        let _ = cleaner.clean(text);
    }
}

/// Strings of parts that the rules react to, with any characters between them.
fn texts() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        4 => "[a-zA-Z ,.!?'\n\\[\\]0-9@:|#{}()+/-]{0,12}",
        2 => any::<String>(),
        4 => proptest::sample::select(vec![
            "a@b.co", "+49 30 123456", "212-555-2368", "4111 1111 1111 1111", "185.199.108.153",
            "GB29NWBK60161331926819", "2a00:1450:4001:82b::200e", "AKIAIOSFODNN7EXAMPLE",
            "-----BEGIN PRIVATE KEY-----", "-----END PRIVATE KEY-----", "[1]", "[edit]", "Tel. ",
            "password=\"", "\u{301}", "\u{338}", "\u{200D}", "\u{200B}", "\u{AD}", "\r\n", "\n\n",
            "क्", "👩", "\u{212A}", "한", "\u{1161}", "東京", "We use cookies", "Home | A | B",
            "The end. ", "JavaScript", "Lorem ipsum", "…", "\u{FFFD}", "é", "one two three. ",
        ]).prop_map(str::to_owned),
    ];
    proptest::collection::vec(part, 0..40).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn a_clean_text_stays_as_it_is(text in texts(), preset in 0..5usize) {
        let presets =
            [Preset::Web, Preset::Books, Preset::Code, Preset::Dialogue, Preset::None];
        let mut config = CleanConfig::of(presets[preset]);
        if preset == 0 {
            // Little made text passes the judgements of the web. Its changes are the point.
            for entry in catalogue::entries().filter(|entry| !entry.is_edit()) {
                let off = Setting { on: Some(false), ..Setting::default() };
                config.rules.insert(entry.name.to_owned(), off);
            }
        }
        let cleaner = Cleaner::new(&config).unwrap();
        let once = cleaner.clean(text);
        if let Some(text) = &once.text {
            let twice = cleaner.clean(text.clone());
            prop_assert_eq!(twice.text.as_ref(), Some(text));
            prop_assert!(twice.decisions.iter().all(|it| it.verdict == Verdict::Passed));
            prop_assert_eq!(twice.language, once.language);
        }
    }

    #[test]
    fn every_rule_takes_any_text(text in texts()) {
        for entry in catalogue::entries() {
            let cleaned = only(entry.name).clean(text.clone());
            prop_assert_eq!(cleaned.decisions.len(), 1);
        }
    }
}
