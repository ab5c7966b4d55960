use proptest::{collection::vec, prelude::*, sample::select, string::string_regex};
use tiktoken_rs::{CoreBPE, cl100k_base_singleton, o200k_base_singleton, p50k_base_singleton, r50k_base_singleton};

use super::*;

/// Those of GPT-2, GPT-3, GPT-4 and GPT-4o.
fn tokenizers() -> [&'static CoreBPE; 4] {
    [r50k_base_singleton(), p50k_base_singleton(), cl100k_base_singleton(), o200k_base_singleton()]
}

fn counted(text: &str) -> u64 {
    tokenizers().map(|tokenizer| tokenizer.count_ordinary(text)).into_iter().max().unwrap() as u64
}

#[test]
fn each_common_word_is_one_token_behind_a_space() {
    for word in COMMON_WORDS.iter() {
        assert_eq!(counted(&format!(" {word}")), 1, "{word}");
    }
    assert_eq!(COMMON_WORDS.len(), include_str!("common_words.txt").lines().count());
}

#[test]
fn prose_is_bounded_by_little_more_than_its_tokens_and_csv_by_little_more_than_twice() {
    let prose = "It was the best of times, it was the worst of times, it was the age of wisdom, it was the age of \
        foolishness, it was the epoch of belief, it was the epoch of incredulity, it was the season of light, it was \
        the season of darkness, it was the spring of hope, it was the winter of despair. The committee will discuss \
        the quarterly results and the priorities of engineering for the next release of the product, which is due at \
        the end of the year.";
    let csv = "id,name,amount,date\n1023,Miller,49.90,2026-03-01\n1024,Chen,1200.00,2026-03-02\n".repeat(20);
    let percent = |text: &str| most_tokens(text) * 100 / o200k_base_singleton().count_ordinary(text) as u64;
    assert!((100..150).contains(&percent(prose)), "{} %", percent(prose));
    assert!((100..230).contains(&percent(&csv)), "{} %", percent(&csv));
}

#[test]
fn a_word_counts_as_one_token_only_between_a_space_and_its_end() {
    for (text, tokens) in [
        ("the", 3),
        (" the", 4),
        (" the ", 2),
        (" the the.", 3),
        (" the\n", 2),
        (" the's ", 7),
        (" the7 ", 6),
        (" the\u{301} ", 7),
        (" thé ", 6),
        (" xqzkv ", 7),
        ("\u{a0}the ", 6),
        ("日本語", 9),
        ("", 0),
    ] {
        assert_eq!(most_tokens(text), tokens, "{text:?}");
    }
}

#[test]
fn text_in_json_counts_with_its_escapes() {
    let text = "a\"b\\c\nd\u{1b}é中😀";
    assert_eq!(most_tokens_in_json(text), text.len() as u64 + 3 + 5 + 2 * 9);
    assert_eq!(most_tokens_in_json("plain"), 5);
}

/// Texts of many kinds, most of them with few bytes per token.
fn texts() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        select(vec![
            "a\n",
            "é",
            "日本語",
            "한국어",
            "😀👩‍👩‍👧",
            "ﷺ",
            "\u{0}",
            "\t",
            "    ",
            "''",
            "|---|",
            "=>",
            "\r\n",
            "İ"
        ])
        .prop_map(str::to_owned),
        string_regex("[0-9]{1,9}(,[0-9]{1,4}\\.[0-9]{2})?\n?").unwrap(),
        string_regex("[A-Za-z0-9+/]{1,40}={0,2}").unwrap(),
        string_regex("[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}").unwrap(),
        string_regex(" (the|of|Because|committee|results|let|fn|it's|don't)[ .,;:!?)\"\n-]?").unwrap(),
        string_regex("\\PC{1,12}").unwrap(),
        any::<String>(),
    ];
    vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn no_tokenizer_makes_more_tokens_than_the_bound(text in texts()) {
        let most = most_tokens(&text);
        for tokenizer in tokenizers() {
            prop_assert!(tokenizer.count_ordinary(&text) as u64 <= most, "{text:?}");
        }
        let json = serde_json::to_string(&text).unwrap();
        prop_assert!(counted(&json) <= most_tokens_in_json(&text) + 2, "{json}");
    }
}
