use brigade_core::PromptCache;

use super::*;

fn usd(text: &str) -> Money {
    text.parse().unwrap()
}

fn id(name: &str) -> ModelId {
    let (account, model) = name.split_once('/').unwrap();
    ModelId::new(account, model)
}

/// The bundled prices at noon of `day`, such as `2026-08-21`. An empty `day` is the day of the table.
fn prices_of(day: &str) -> PriceBook {
    let day = if day.is_empty() { "2026-08-21" } else { day };
    PriceBook::bundled().at(format!("{day}T12:00:00Z").parse().unwrap())
}

fn bill(prices: &PriceBook, name: &str, tier: Option<&str>, usage: &Usage) -> Option<Money> {
    prices.cost(&ServedCall::new(&id(name)).service_tier(tier), usage)
}

/// The usage of an entry of [`GOLDEN`].
fn usage([input, read, written, written_1h, output, reasoning, searches]: [u64; 7]) -> Usage {
    Usage::new(input, output)
        .cache_read_tokens(Some(read))
        .cache_write_tokens(Some(written))
        .cache_write_1h_tokens(Some(written_1h))
        .reasoning_tokens(Some(reasoning))
        .web_searches(Some(searches))
}

/// Each entry has an account and model, a service tier, a day, a usage, and the expected cost.
///
/// The numbers of a usage are: input tokens, those of them read from a cache, those written to a cache, those of the latter
/// written for an hour; output tokens, those of them for reasoning; web searches. The comment above an entry computes its
/// cost from the prices on the vendor's page, in dollars per million tokens.
#[rustfmt::skip]
const GOLDEN: [(&str, &str, &str, [u64; 7], &str); 56] = [
    // 1000×2.5 + 500×10
    ("openai/gpt-4o", "", "", [1000, 0, 0, 0, 500, 0, 0], "0.0075"),
    // 232×2.5 + 768×1.25 + 500×10
    ("openai/gpt-4o", "", "", [1000, 768, 0, 0, 500, 0, 0], "0.00654"),
    // 1000×5 + 500×15
    ("openai/gpt-4o-2024-05-13", "", "", [1000, 0, 0, 0, 500, 0, 0], "0.0125"),
    // 1000×2.5 + 500×10
    ("openai/gpt-4o-2024-08-06", "", "", [1000, 0, 0, 0, 500, 0, 0], "0.0075"),
    // 12345×0.15 + 678×0.6
    ("openai/gpt-4o-mini", "", "", [12_345, 0, 0, 0, 678, 0, 0], "0.00225855"),
    // 57×0.15 + 12288×0.075 + 678×0.6
    ("openai/gpt-4o-mini", "", "", [12_345, 12_288, 0, 0, 678, 0, 0], "0.00133695"),
    // 976×2 + 1024×0.5 + 100×8
    ("openai/gpt-4.1", "", "", [2000, 1024, 0, 0, 100, 0, 0], "0.003264"),
    // 2000×1 + 100×4
    ("openai/gpt-4.1", "batch", "", [2000, 0, 0, 0, 100, 0, 0], "0.0024"),
    // 976×1 + 1024×0.25 + 100×4
    ("openai/gpt-4.1", "batch", "", [2000, 1024, 0, 0, 100, 0, 0], "0.001632"),
    // 976×3.5 + 1024×0.875 + 100×14
    ("openai/gpt-4.1", "priority", "", [2000, 1024, 0, 0, 100, 0, 0], "0.005712"),
    // 108×0.4 + 32×1.6
    ("openai/gpt-4.1-mini", "", "", [108, 0, 0, 0, 32, 0, 0], "0.0000944"),
    // 1×0.1 + 1×0.4
    ("openai/gpt-4.1-nano", "", "", [1, 0, 0, 0, 1, 0, 0], "0.0000005"),
    // 1976×1.25 + 1024×0.125 + 900×10
    ("openai/gpt-5", "", "", [3000, 1024, 0, 0, 900, 640, 0], "0.011598"),
    // 1976×0.625 + 1024×0.0625 + 900×5
    ("openai/gpt-5", "flex", "", [3000, 1024, 0, 0, 900, 640, 0], "0.005799"),
    // 1976×2.5 + 1024×0.25 + 900×20
    ("openai/gpt-5", "priority", "", [3000, 1024, 0, 0, 900, 640, 0], "0.023196"),
    // 1976×1.25 + 1024×0.125 + 900×10
    ("openai/gpt-5", "default", "", [3000, 1024, 0, 0, 900, 640, 0], "0.011598"),
    // 10×1.25 + 10×10
    ("openai/gpt-5-2025-08-07", "", "", [10, 0, 0, 0, 10, 0, 0], "0.0001125"),
    // 700×0.25 + 300×0.025 + 500×2
    ("openai/gpt-5-mini", "", "", [1000, 300, 0, 0, 500, 200, 0], "0.0011825"),
    // 1000×0.125 + 500×1
    ("openai/gpt-5-mini-2025-08-07", "flex", "", [1000, 0, 0, 0, 500, 0, 0], "0.000625"),
    // 4×0.05 + 3×0.005 + 1×0.4
    ("openai/gpt-5-nano", "", "", [7, 3, 0, 0, 1, 0, 0], "0.000000615"),
    // 500×15 + 4000×60
    ("openai/o1", "", "", [500, 0, 0, 0, 4000, 3900, 0], "0.2475"),
    // 244×2 + 256×0.5 + 4000×8
    ("openai/o3", "", "", [500, 256, 0, 0, 4000, 3900, 0], "0.032616"),
    // 244×1.1 + 256×0.275 + 4000×4.4
    ("openai/o4-mini", "", "", [500, 256, 0, 0, 4000, 3900, 0], "0.0179388"),
    // 1000×1.75 + 100×14
    ("openai/gpt-5.2-20251211", "", "", [1000, 0, 0, 0, 100, 0, 0], "0.00315"),
    // 272000×5 + 1000×30
    ("openai/gpt-5.5", "", "", [272_000, 0, 0, 0, 1000, 0, 0], "1.39"),
    // 272001×10 + 1000×45
    ("openai/gpt-5.5", "", "", [272_001, 0, 0, 0, 1000, 0, 0], "2.76501"),
    // 100000×10 + 200000×1 + 1000×45
    ("openai/gpt-5.5", "", "", [300_000, 200_000, 0, 0, 1000, 0, 0], "1.245"),
    // 8×5 + 4012×6.25 + 5×30
    ("openai/gpt-5.6-sol", "", "", [4020, 0, 4012, 0, 5, 0, 0], "0.025265"),
    // 8×5 + 4012×0.5 + 5×30
    ("openai/gpt-5.6-sol", "", "", [4020, 4012, 0, 0, 5, 0, 0], "0.002196"),
    // 1000×3 + 500×15
    ("anthropic/claude-sonnet-4-5", "", "", [1000, 0, 0, 0, 500, 0, 0], "0.0105"),
    // 500×3 + 8000×0.3 + 1500×3.75 + 500×15
    ("anthropic/claude-sonnet-4-5-20250929", "", "", [10_000, 8000, 1500, 0, 500, 0, 0], "0.017025"),
    // 500×3 + 8000×0.3 + 500×3.75 + 1000×6 + 500×15
    ("anthropic/claude-sonnet-4-5", "", "", [10_000, 8000, 1500, 1000, 500, 0, 0], "0.019275"),
    // 200000×3 + 500×15
    ("anthropic/claude-sonnet-4-5", "", "", [200_000, 0, 0, 0, 500, 0, 0], "0.6075"),
    // 20000×6 + 200000×0.6 + 20000×7.5 + 10000×12 + 500×22.5
    ("anthropic/claude-sonnet-4-5", "", "", [250_000, 200_000, 30_000, 10_000, 500, 0, 0], "0.52125"),
    // 1000×3 + 500×15 + 3×10000
    ("anthropic/claude-sonnet-4-5", "", "", [1000, 0, 0, 0, 500, 0, 3], "0.0405"),
    // 695×1 + 219×5
    ("anthropic/claude-haiku-4-5", "", "", [695, 0, 0, 0, 219, 131, 0], "0.00179"),
    // 695×1 + 219×5
    ("anthropic/claude-haiku-4-5-20251001", "batch", "", [695, 0, 0, 0, 219, 0, 0], "0.00179"),
    // 1000×15 + 4000×1.5 + 800×75
    ("anthropic/claude-opus-4-1-20250805", "", "", [5000, 4000, 0, 0, 800, 0, 0], "0.081"),
    // 1000×5 + 4000×6.25 + 800×25
    ("anthropic/claude-opus-4-5", "standard", "", [5000, 0, 4000, 0, 800, 0, 0], "0.05"),
    // 250000×5 + 100×25
    ("anthropic/claude-opus-4-6", "", "", [250_000, 0, 0, 0, 100, 0, 0], "1.2525"),
    // 250000×10 + 100×37.5
    ("anthropic/claude-opus-4-6", "", "2026-03-12", [250_000, 0, 0, 0, 100, 0, 0], "2.50375"),
    // 250000×5 + 100×25
    ("anthropic/claude-opus-4-6", "", "2026-03-13", [250_000, 0, 0, 0, 100, 0, 0], "1.2525"),
    // 2000×30 + 1000×3 + 1000×37.5 + 1000×60 + 100×150
    ("anthropic/claude-opus-4-6", "fast", "", [5000, 1000, 2000, 1000, 100, 0, 0], "0.1755"),
    // 1000×2 + 1000×10
    ("anthropic/claude-sonnet-5", "", "2026-08-31", [1000, 0, 0, 0, 1000, 0, 0], "0.012"),
    // 1000×3 + 1000×15
    ("anthropic/claude-sonnet-5", "", "2026-09-01", [1000, 0, 0, 0, 1000, 0, 0], "0.018"),
    // 1000×0.5 + 100×1.25
    ("anthropic/claude-3-haiku-20240307", "", "", [1000, 0, 1000, 1000, 100, 0, 0], "0.000625"),
    // 10×0.0028
    ("deepseek/deepseek-chat", "", "", [10, 10, 0, 0, 0, 0, 0], "0.000000028"),
    // 1000×0.14 + 1×0.0028 + 1×0.28
    ("deepseek/deepseek-chat", "", "", [1001, 1, 0, 0, 1, 0, 0], "0.000140283"),
    // 143×1.25 + 128×0.2 + 287×2.5
    ("xai/grok-4.3", "", "", [271, 128, 0, 0, 287, 280, 0], "0.00092185"),
    // 700×3 + 200×0.75 + 100×15
    ("openrouter/x-ai/grok-4", "", "", [900, 200, 0, 0, 100, 0, 0], "0.00375"),
    // 100×3 + 20×15
    ("openrouter/anthropic/claude-sonnet-4.5", "", "", [100, 0, 0, 0, 20, 0, 0], "0.0006"),
    // 49×2.5 + 11×10
    ("openrouter/openai/gpt-4o:extended", "", "", [49, 0, 0, 0, 11, 0, 0], "0.0002325"),
    // 1000×0.15 + 1000×0.6
    ("groq/openai/gpt-oss-120b", "", "", [1000, 0, 0, 0, 1000, 0, 0], "0.00075"),
    // 1000×0.5 + 100×1.5
    ("mistral/mistral-large-latest", "", "", [1000, 0, 0, 0, 100, 0, 0], "0.00065"),
    // 100×2 + 1000×8 + 4000×3 + 2×5000
    ("perplexity/sonar-deep-research", "", "", [100, 0, 0, 0, 5000, 4000, 2], "0.0302"),
    // 10×3 + 10×15 + 1×14000
    ("perplexity/sonar-pro", "", "", [10, 0, 0, 0, 10, 0, 0], "0.01418"),
];

#[test]
fn costs_equal_those_computed_by_hand() {
    for (name, tier, day, tokens, cost) in GOLDEN {
        let tier = Some(tier).filter(|tier| !tier.is_empty());
        let billed = bill(&prices_of(day), name, tier, &usage(tokens));
        assert_eq!(billed, Some(usd(cost)), "{name} {tier:?} {day} {tokens:?}");
    }
}

#[test]
fn every_listed_model_has_a_price_and_is_found_by_its_provider() {
    let table = Table::bundled(&BUNDLED).unwrap();
    let mut count = 0;
    for (provider, model) in table.names() {
        let billed = bill(&PriceBook::bundled(), &format!("{provider}/{model}"), None, &Usage::new(1_000, 1_000));
        assert!(billed.is_some(), "{provider}/{model}");
        count += 1;
    }
    assert!(count > 400, "{count}");
}

#[test]
fn a_model_is_found_by_dated_and_vendor_names() {
    let prices = PriceBook::bundled();
    let found = [
        "openai/gpt-5-mini-2025-08-07",
        "openai/gpt-4.1-2031-01-31",
        "openai-eu/gpt-5-mini",
        "main/gpt-5-mini",
        "anthropic/claude-opus-4-5@20251101",
        "anthropic/claude-haiku-4-5-latest",
        "openrouter/anthropic/claude-haiku-4.5",
        "openrouter/z-ai/glm-4.6",
        "main/models/gpt-5-mini",
        "together_2/deepseek-ai/DeepSeek-V3",
    ];
    for name in found {
        assert!(prices.lookup(&id(name)).is_some(), "{name}");
    }
    let unknown = [
        "openai/gpt-5-mini-turbo",
        "openai/gpt-5-mini-2025",
        "openai/ft:gpt-4o-mini-2024-07-18:acme::x",
        "openai/",
        "main/-2025-08-07",
        "main/llama3.2",
        // A host has its own prices, so a model of another provider is unknown there.
        "groq/gpt-5-mini",
        "fireworks/deepseek-chat",
        "groqqy/qwen/qwen3-32b",
    ];
    for name in unknown {
        assert_eq!(prices.lookup(&id(name)), None, "{name}");
    }
}

#[test]
fn limits_are_known_for_listed_models() {
    let limits = PriceBook::bundled().lookup(&id("openai/gpt-5-mini")).unwrap();
    let expected = ModelLimits {
        context_window: Some(400_000),
        max_input_tokens: Some(272_000),
        max_output_tokens: Some(128_000),
    };
    assert_eq!(limits, expected);
}

#[test]
fn the_model_that_answered_sets_the_price_if_it_is_listed() {
    let asked = id("openai/gpt-5");
    let cost = |model| {
        let served = ServedCall::new(&asked).model(Some(model));
        PriceBook::bundled().cost(&served, &Usage::new(1_000, 0))
    };
    assert_eq!(cost("gpt-5-nano-2025-08-07"), Some(usd("0.00005")));
    assert_eq!(cost("gpt-5-something-new"), Some(usd("0.00125")));
}

#[test]
fn a_stated_cost_replaces_the_computed_one() {
    let stated = |cost| Usage::new(1_000, 0).stated_cost(Some(usd(cost)));
    assert_eq!(bill(&PriceBook::bundled(), "main/unknown", None, &stated("0.0123")), Some(usd("0.0123")));
    assert_eq!(bill(&PriceBook::bundled(), "openai/gpt-5", None, &stated("0.5")), Some(usd("0.5")));
    assert_eq!(bill(&PriceBook::bundled(), "openai/gpt-5", None, &stated("-1")), Some(usd("0.00125")));
}

#[test]
fn a_stated_zero_or_negative_cost_does_not_replace_the_price_of_a_listed_model() {
    let cost = |name: &str, cost: &str| {
        bill(&PriceBook::bundled(), name, None, &Usage::new(1_000, 0).stated_cost(Some(usd(cost))))
    };
    for (name, stated, expected) in [
        ("openai/gpt-5", "0", Some("0.00125")),
        ("openai/gpt-5", "-1", Some("0.00125")),
        ("openrouter/openai/gpt-5", "0", Some("0.00125")),
        ("openrouter/anthropic/claude-sonnet-4.5", "0", Some("0.003")),
        ("openrouter/openai/gpt-5:free", "0", Some("0")),
        ("main/unknown", "0", Some("0")),
        ("main/unknown", "-1", None),
    ] {
        assert_eq!(cost(name, stated), expected.map(usd), "{name} {stated}");
    }
}

#[test]
fn models_at_home_cost_nothing_unless_the_users_table_has_a_price() {
    let overlay = r#"
        [[models]]
        provider = "ollama"
        ids = ["mistral-small-latest"]
        standard = { input = "1", output = "1" }
        [[models]]
        provider = "mistral"
        ids = ["mistral-large-latest"]
        standard = { input = "2", output = "2" }
        [[models]]
        ids = ["qwen3"]
        standard = { input = "3", output = "3" }
        "#;
    let overlaid = PriceBook::from_toml_overlay(overlay).unwrap().local_accounts(["home".to_owned()]);
    let bundled = PriceBook::bundled().local_accounts(["home".to_owned()]);
    let million = |prices: &PriceBook, name: &str| bill(prices, name, None, &Usage::new(1_000_000, 0)).unwrap();
    for account in ["ollama", "ollama-gpu", "vllm_2", "lmstudio", "llamacpp", "home"] {
        for model in ["gpt-5", "mistral-large-latest", "deepseek-ai/DeepSeek-V3", "not-listed"] {
            let name = format!("{account}/{model}");
            assert_eq!((million(&bundled, &name), million(&overlaid, &name)), (Money::ZERO, Money::ZERO), "{name}");
            let ceiling = bundled.ceiling(&id(&name), &Settings::default(), 10).unwrap();
            assert_eq!(ceiling.rates.cost(1_000, 1_000), Money::ZERO, "{name}");
        }
        assert_eq!(million(&overlaid, &format!("{account}/qwen3")), usd("3"), "{account}");
    }
    assert_eq!(million(&overlaid, "ollama/mistral-small-latest"), usd("1"));
    assert_eq!(million(&overlaid, "ollama-gpu/mistral-small-latest"), usd("1"));
    assert_eq!(million(&overlaid, "home/mistral-small-latest"), Money::ZERO);
    assert!(million(&bundled, "main/gpt-5") > Money::ZERO && million(&bundled, "ollamas/gpt-5") > Money::ZERO);
}

#[test]
fn an_accounts_own_entry_precedes_one_for_every_account() {
    let entry = |provider: &str, input: u8| {
        format!("[[models]]\n{provider}\nids = [\"m\"]\nstandard = {{ input = \"{input}\", output = \"1\" }}\n")
    };
    let (any, own) = (entry("", 1), entry("provider = \"acme\"", 2));
    for table in [[&*any, &*own].concat(), [&*own, &*any].concat()] {
        let prices = PriceBook::from_toml_overlay(&table).unwrap();
        let cost = |name| bill(&prices, name, None, &Usage::new(1_000_000, 0));
        assert_eq!(
            ["acme/m", "acme-eu/m", "other/m", "groq/m"].map(cost),
            ["2", "2", "1", "1"].map(|it| Some(usd(it)))
        );
    }
}

#[test]
fn the_estimate_uses_the_highest_price_that_can_apply_until_the_call_ends() {
    let input = |name: &str, moment: &str| {
        let prices = PriceBook::bundled().at(moment.parse().unwrap());
        let settings = Settings::default().prompt_cache(PromptCache::Off);
        prices.ceiling(&id(name), &settings, 10).unwrap().rates.input.of(1_000_000)
    };
    let by_hour = |time: &str| input("deepseek/deepseek-chat-v3-0324", &format!("2026-08-21T{time}Z"));
    assert_eq!(
        ["23:15:00", "23:45:00", "16:00:00", "18:00:00"].map(by_hour),
        ["0.135", "0.27", "0.27", "0.135"].map(usd)
    );
    assert_eq!(input("anthropic/claude-sonnet-5", "2026-08-31T12:00:00Z"), usd("2"));
    assert_eq!(input("anthropic/claude-sonnet-5", "2026-08-31T23:30:00Z"), usd("3"));
    // Never less for a longer prompt, even if the price of long prompts were lower.
    let odd = "[[models]]\nids = [\"m\"]\nstandard = { input = \"5\", output = \"5\", above.1000 = { input = \"1\", output = \"1\" } }";
    let odd = PriceBook::from_toml_overlay(odd).unwrap();
    assert_eq!(odd.ceiling(&id("a/m"), &Settings::default(), 2_000).unwrap().rates.input.of(1_000_000), usd("5"));
}

#[test]
fn the_estimate_includes_images_and_what_the_provider_adds() {
    let ceiling = |name: &str, settings: &Settings| PriceBook::bundled().ceiling(&id(name), settings, 10).unwrap();
    let image = |name| ceiling(name, &Settings::default()).image_tokens;
    let names = ["anthropic/claude-sonnet-4-5", "openai/gpt-4o-mini", "openai/gpt-4o", "main/gpt-4o-mini"];
    assert_eq!(names.map(image), [5_000, 48_169, PriceCeiling::IMAGE_TOKENS, 48_169]);
    let kept = brigade_core::RawJson::parse("\"resp_1\"".to_owned()).unwrap();
    let kept = Settings::default().extra([("previous_response_id".to_owned(), kept)].into());
    assert_eq!(ceiling("openai/gpt-5-mini", &kept).unseen_tokens, Some(400_000));
    assert_eq!(ceiling("openai/gpt-5-mini", &Settings::default()).unseen_tokens, Some(0));
    // The conversation counts for the price of long prompts.
    assert_eq!(ceiling("openai/gpt-5.5", &kept).rates.input.of(1_000_000), usd("10"));
}

#[test]
fn prices_can_depend_on_the_time_of_day() {
    let at = |time: &str| {
        let prices = PriceBook::bundled().at(format!("2026-08-21T{time}Z").parse().unwrap());
        bill(&prices, "deepseek/deepseek-chat-v3-0324", None, &Usage::new(1_000_000, 0))
    };
    assert_eq!(at("00:29:59"), Some(usd("0.135")));
    assert_eq!(at("00:30:00"), Some(usd("0.27")));
    assert_eq!(at("16:30:00"), Some(usd("0.135")));
}

fn ceiling(name: &str, input_tokens: u64, settings: &Settings) -> Option<(Money, Money)> {
    let rates = prices_of("").ceiling(&id(name), settings, input_tokens)?.rates;
    Some((rates.input.of(1_000_000), rates.output.of(1_000_000)))
}

#[test]
fn the_estimate_uses_the_prices_of_long_prompts() {
    let settings = Settings::default().prompt_cache(PromptCache::Off);
    assert_eq!(ceiling("anthropic/claude-sonnet-4-5", 200_000, &settings), Some((usd("3"), usd("15"))));
    assert_eq!(ceiling("anthropic/claude-sonnet-4-5", 200_001, &settings), Some((usd("6"), usd("22.5"))));
}

#[test]
fn the_estimate_includes_cache_writes() {
    let cached = |prompt_cache| Settings::default().prompt_cache(prompt_cache);
    let input = |cache| ceiling("anthropic/claude-sonnet-4-6", 10, &cached(cache)).unwrap().0;
    assert_eq!(input(PromptCache::Off), usd("3"));
    assert_eq!(input(PromptCache::Auto), usd("3.75"));
    assert_eq!(input(PromptCache::OneHour), usd("6"));
}

#[test]
fn the_estimate_follows_a_more_expensive_tier_but_not_a_cheaper_one() {
    let tier = |tier: &str| Settings::default().service_tier(Some(tier.into()));
    assert_eq!(ceiling("openai/gpt-5", 10, &tier("auto")), Some((usd("1.25"), usd("10"))));
    assert_eq!(ceiling("openai/gpt-5", 10, &tier("flex")), Some((usd("1.25"), usd("10"))));
    assert_eq!(ceiling("openai/gpt-5", 10, &tier("priority")), Some((usd("2.5"), usd("20"))));
    assert_eq!(ceiling("openai/o1", 10, &tier("priority")), None, "unknown is not free");
}

#[test]
fn the_estimate_includes_the_price_of_a_request() {
    let ceiling = prices_of("").ceiling(&id("perplexity/sonar"), &Settings::default(), 10).unwrap();
    assert_eq!(ceiling.rates.call, usd("0.012"));
}

#[test]
fn the_estimate_includes_allowed_web_searches() {
    let tools = brigade_core::RawJson::parse(r#"[{"type":"web_search_20250305","max_uses":3}]"#.to_owned()).unwrap();
    let settings = Settings::default().extra([("tools".to_owned(), tools)].into());
    let call = |settings| prices_of("").ceiling(&id("anthropic/claude-sonnet-4-5"), settings, 10).unwrap().rates.call;
    assert_eq!((call(&settings), call(&Settings::default())), (usd("0.03"), Money::ZERO));
}

#[test]
fn an_overlay_replaces_and_adds_entries() {
    let prices = PriceBook::from_toml_overlay(
        r#"
        as_of = "2026-10-01"

        [[models]]
        provider = "openai"
        ids = ["gpt-5-mini"]
        standard = { input = "1", output = "4", above.1000 = { input = "2", output = "8" } }
        changes.2026-12-01 = { input = "3", output = "5" }

        [[models]]
        ids = ["llama3.2"]
        max_output = 4096
        standard = { input = "0", output = "0" }
        "#,
    )
    .unwrap();
    let prices = prices.at("2026-10-02T00:00:00Z".parse().unwrap());
    let cost = |name, tokens| bill(&prices, name, None, &Usage::new(tokens, 0));
    assert_eq!(cost("openai/gpt-5-mini", 1_000), Some(usd("0.001")));
    assert_eq!(cost("openai/gpt-5-mini-2025-08-07", 2_000), Some(usd("0.004")), "also under its dated name");
    assert_eq!(cost("openai/gpt-5", 1_000), Some(usd("0.00125")));
    assert_eq!(cost("ollama/llama3.2", 1_000), Some(Money::ZERO));
    assert_eq!(prices.lookup(&id("ollama/llama3.2")).unwrap().max_output_tokens, Some(4_096));
    assert_eq!(prices.as_of().to_string(), "2026-10-01");
    let later = prices.clone().at("2026-12-01T00:00:00Z".parse().unwrap());
    assert_eq!(bill(&later, "openai/gpt-5-mini", None, &Usage::new(1_000, 0)), Some(usd("0.003")));
}

#[test]
fn an_invalid_overlay_is_refused_with_the_line_of_the_mistake() {
    let standard = |price: &str| format!("[[models]]\nids = [\"m\"]\nstandard = {{ {price} }}\n");
    let mistakes = [
        (r#"input = "1""#, "missing field `output`"),
        (r#"input = "1", output = "-1""#, "must not be negative"),
        (r#"input = "1", output = "1e3""#, "is not a dollar amount"),
        (r#"input = "1", output = "1", cached = "1""#, "unknown field `cached`"),
        (r#"input = "1", output = "1", above.many = { input = "1", output = "1" }"#, "invalid digit"),
    ];
    for (mistake, words) in mistakes {
        let error = PriceBook::from_toml_overlay(&standard(mistake)).unwrap_err();
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(cause.contains(words) && cause.contains("line 3"), "{cause}");
    }
}

#[test]
fn the_age_of_the_table_is_known() {
    assert_eq!(PriceBook::bundled().as_of().to_string(), "2026-08-21");
    assert_eq!(prices_of("2026-08-23").age(), Duration::from_hours(60));
    assert_eq!(prices_of("2026-08-20").age(), Duration::ZERO);
}
