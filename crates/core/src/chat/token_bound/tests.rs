use super::*;
use crate::{Arguments, Image, RawJson, Role, ToolResult, ToolSet};

#[test]
fn every_part_of_a_request_counts() {
    let json = |text: &str| RawJson::parse(text.to_owned()).unwrap();
    let bound = |request: &ChatRequest| TokenBound::of_request(request, &request.settings);
    let empty = bound(&ChatRequest::default());
    assert_eq!(empty, TokenBound { tokens: PROMPT, images: 0 });
    let asked = bound(&ChatRequest::new("xyz"));
    assert_eq!(asked.tokens, empty.tokens + MESSAGE + 3);
    let told = ChatRequest::new("xyz").instructions(Some(crate::Message::system("abcd")));
    assert_eq!(bound(&told).tokens, asked.tokens + MESSAGE + 4);
    let tools = ChatRequest::new("xyz").tools(ToolSet::new(vec![ToolSpec::new("abc", "xq", json("{}"))]));
    assert_eq!(bound(&tools).tokens, asked.tokens + TOOLS + ITEM + 3 + 2 + 2);
    let schema = Settings::default().output(Some(crate::OutputSchema::new("x", json("[7]"))));
    assert_eq!(bound(&ChatRequest::new("xyz").settings(schema)).tokens, asked.tokens + ITEM + 3);
    let extra = Settings::default().extra([("abc".to_owned(), json("[78]"))].into());
    assert_eq!(bound(&ChatRequest::new("xyz").settings(extra)).tokens, asked.tokens + 7);

    let own = ProviderData::new("d", json("\"12345\""));
    let call = ToolCall::new("id", "name", Arguments::Malformed("{\"".into()));
    let image = Part::Image(Image::Url("https://example.com/a.png".into()));
    let result = ToolResult::new(&call, vec![Part::text("x\ny"), image.clone()]);
    let cases = [
        (Part::Thinking(crate::TextPart::new("abc").data(Some(own.clone()))), (10, 0)),
        // Only the text of a tool result may be written as JSON.
        (Part::text("x\ny"), (3, 0)),
        (Part::Text(crate::TextPart::new("x").data(Some(own.clone()))), (1 + 7, 0)),
        (Part::ToolCall(call.clone().data(Some(own.clone()))), (ITEM + 6 + 3 + 7, 0)),
        (Part::ToolCall(call), (ITEM + 6 + 3, 0)),
        (Part::ToolResult(result), (ITEM + 6 + 4 + ITEM, 1)),
        (image, (ITEM, 1)),
        (Part::Opaque(own), (7, 0)),
    ];
    for (part, (tokens, images)) in cases {
        let message = crate::Message::new(Role::Assistant, vec![part]);
        assert_eq!(TokenBound::of_message(&message), TokenBound { tokens: MESSAGE + tokens, images }, "{message:?}");
    }
}
