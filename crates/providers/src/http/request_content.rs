//! Keeps what users write out of errors.
//!
//! Providers quote the request in their error texts, whole or in part. Errors are logged, so the quoted words are masked.

use brigade_core::{ChatRequest, Image, Message, ModelError, ModelErrorKind, Part};

/// What stands for masked words.
const MASK: &str = "[…]";
/// Shorter words say nothing without their neighbours.
const MIN_WORD_CHARS: usize = 3;
/// A longer word is masked if the request has a part of it with this length.
const PART_CHARS: usize = 6;
/// The same for words with digits, such as numbers and keys.
const DIGIT_PART_CHARS: usize = 4;
/// The same for scripts without blanks between words.
const WIDE_PART_CHARS: usize = 2;

/// Common words of error texts. They stay, although most prompts have some of them too.
const COMMON_WORDS: &str = "
    about above access account actual add after again agreement all allowed already also and another anthropic any
    api are argument arguments array assistant at available azure bad balance be because been before below beta
    billing blocked body boolean budget but bytes cache cached call called calls can cannot capacity chat check
    choice code codes completion concurrent connect connection contact content context conversation could count
    created credit credits current data day days deployment deprecated detail details developer did disabled
    disconnect docs documentation does done down each effort empty enabled encountered end endpoint error errors
    exceed exceeded exceeding exceeds exist expected experiencing expires failed feature field fields file filter
    first flagged following for format found free frequency from function funds gateway generate generation get
    given google greater groq had has have header headers high higher hour how however http https id ids image
    images incorrect input instead insufficient integer internal into invalid issue item its json key large last
    later least length less limit limited limits list load loaded logprobs long longer low lower max maximum may
    memory message messages metadata method milliseconds minimum minute minutes missing mistral model models month
    more must name need network new none not null number object occurred off one only openai option org organization
    origin other our out output over overloaded page paid parallel parameter parameters parse payment penalty per
    permission permissions plan platform please policy presence preview previous processing project prompt property
    provide provided provider providers pull purchase quota rate reach reached read reason reasoning received reduce
    refer reference region rejected request requested requests require required requires reset resource response
    responses results retry returned role safety sales same schema second seconds see seed sent server servers
    service set should size slow some soon sorry specified start status stop stream string such support supported
    system temperature temporarily terms text than that the their them then there these thinking this through tier
    time timeout token tokens too tool tools top total traffic trial try type unable unauthorized unavailable
    unexpected unknown unsupported until upgrade upstream usage use used user using valid value values verbosity
    verify version versions via violation visit wait was were what when which while with within without would wrong
    you your zero";

/// The texts of a request, in lower case.
#[derive(Debug)]
pub(crate) struct RequestContent(String);

impl RequestContent {
    pub(crate) fn of(request: &ChatRequest) -> Self {
        let mut texts = String::new();
        for message in request.instructions.iter().chain(request.transcript.messages()) {
            add_message(message, &mut texts);
        }
        Self(texts.to_lowercase())
    }

    pub(crate) fn of_texts(texts: &[&str]) -> Self {
        Self(texts.join("\n").to_lowercase())
    }

    /// Masks the words of the request in the texts that a provider gave an error.
    pub(crate) fn mask_error(&self, error: ModelError) -> ModelError {
        let details = error.details();
        let is_success = details.status.is_none_or(|status| (200..300).contains(&status));
        if details.status.is_none() || (is_success && details.kind == ModelErrorKind::Broken && details.code.is_none())
        {
            // In the client's own words.
            return error;
        }
        error.with(|failure| {
            failure.message = self.mask(&failure.message);
            for id in [&mut failure.code, &mut failure.request_id] {
                // Half an identifier identifies nothing.
                id.take_if(|text| self.mask(text) != *text);
            }
        })
    }

    fn mask(&self, text: &str) -> String {
        let mut masked = String::with_capacity(text.len());
        let mut rest = text;
        let mut after_mask = false;
        while let Some(start) = rest.find(char::is_alphanumeric) {
            let (between, word) = rest.split_at(start);
            let end = word.find(|character: char| !character.is_alphanumeric()).unwrap_or(word.len());
            let (word, after) = word.split_at(end);
            let is_quoted = self.has(word);
            match (after_mask, is_quoted) {
                // One mask for neighbours.
                (true, true) => {}
                (false, true) => masked.extend([between, MASK]),
                (_, false) => masked.extend([between, word]),
            }
            (after_mask, rest) = (is_quoted, after);
        }
        masked + rest
    }

    /// Whether the request has the word or a part of it that says something.
    fn has(&self, word: &str) -> bool {
        let word = word.to_lowercase();
        let characters: Vec<char> = word.chars().collect();
        let part = match (word.is_ascii(), characters.len()) {
            (false, length) => length.min(WIDE_PART_CHARS),
            (true, ..MIN_WORD_CHARS) => return false,
            (true, length) if word.contains(|character: char| character.is_ascii_digit()) => {
                length.min(DIGIT_PART_CHARS)
            }
            (true, length) => length.min(PART_CHARS),
        };
        let is_common = COMMON_WORDS.split_ascii_whitespace().any(|common| common == word);
        !is_common && characters.windows(part.max(1)).any(|part| self.0.contains(&part.iter().collect::<String>()))
    }
}

fn add_message(message: &Message, texts: &mut String) {
    message.parts().iter().for_each(|part| add_part(part, texts));
}

fn add_part(part: &Part, texts: &mut String) {
    let text = match part {
        Part::Text(text) | Part::Thinking(text) => &text.text,
        Part::ToolCall(call) => call.arguments.as_str(),
        Part::ToolResult(result) => return result.content.iter().for_each(|part| add_part(part, texts)),
        Part::Image(Image::Url(url)) => url,
        Part::Image(Image::Base64 { data, .. }) => data,
        Part::Opaque(data) => data.raw.get(),
    };
    texts.push_str(text);
    texts.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(prompt: &str, text: &str) -> String {
        RequestContent::of(&ChatRequest::new(prompt)).mask(text)
    }

    #[test]
    fn words_of_the_request_are_masked_and_the_reason_stays() {
        for (prompt, text, expected) in [
            ("My PIN is 4711.", "Invalid value: 'My PIN is 4711.'", "Invalid value: 'My […] is […].'"),
            ("Tell Anna the code Blue-Finch", "flagged: tell anna the CODE blue-fin", "flagged: […] the CODE […]"),
            (
                "x9f2",
                "Invalid 'messages[0].content': x9f2 is too long",
                "Invalid 'messages[0].content': […] is too long",
            ),
            ("我的密码是四七一一", "无效输入:密码是四七", "无效输入:[…]"),
            ("aGVsbG8gd29ybGQgaGVsbG8", "Failed to decode gd29ybGQgaGVsbG8AAAA", "Failed to decode […]"),
            (
                "Hi",
                "This model's maximum context length is 8192 tokens.",
                "This model's maximum context length is 8192 tokens.",
            ),
            ("the model said no", "The model `gpt-6` does not exist", "The model `gpt-6` does not exist"),
        ] {
            assert_eq!(masked(prompt, text), expected);
        }
    }
}
