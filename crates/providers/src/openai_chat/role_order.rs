//! Puts a conversation into the order that strict servers and chat templates accept: users and assistants alternate, and
//! an assistant speaks between the results of tools and the user. Mistral answers 400 with code 3230 otherwise.

use brigade_core::{Message, Part, Role, TextPart, ToolResult};

/// Stands in for an answer that was never given.
const ANSWER: &str = "Noted.";
/// Stands in for a question between two answers, or after the last one.
const QUESTION: &str = "Please continue.";

/// The messages in strict order. Answers for which `is_empty` holds are left out.
pub(super) fn strict<'a>(
    messages: impl Iterator<Item = &'a Message>,
    is_empty: impl Fn(&Message) -> bool,
) -> Vec<Message> {
    let mut ordered = Vec::new();
    for message in messages {
        match message.role() {
            Role::Tool => push_results(&mut ordered, message),
            Role::Assistant if is_empty(message) => {}
            Role::System | Role::User | Role::Assistant => push(&mut ordered, message.clone()),
        }
    }
    if ordered.last().is_some_and(|last| last.role() == Role::Assistant) {
        ordered.push(Message::user(QUESTION));
    }
    ordered
}

fn push(ordered: &mut Vec<Message>, message: Message) {
    match (ordered.last().map(Message::role), message.role()) {
        (Some(Role::User), Role::User) => {
            let joined = ordered.pop().map(|last| joined(&last, &message));
            return ordered.push(joined.unwrap_or(message));
        }
        (Some(Role::Tool), Role::User) => ordered.push(Message::assistant(ANSWER)),
        (None | Some(Role::Assistant), Role::Assistant) => ordered.push(Message::user(QUESTION)),
        (None | Some(Role::System | Role::User | Role::Assistant | Role::Tool), _) => {}
    }
    ordered.push(message);
}

/// Results are text in this protocol, so their images become a message of the user.
fn push_results(ordered: &mut Vec<Message>, message: &Message) {
    let is_image = |part: &&Part| matches!(part, Part::Image(_));
    let images: Vec<Part> =
        message.tool_results().flat_map(|result| &result.content).filter(is_image).cloned().collect();
    if images.is_empty() {
        return push(ordered, message.clone());
    }
    let without_images = |result: &ToolResult| {
        let content = result.content.iter().filter(|part| !is_image(part)).cloned().collect();
        result.clone().content(content)
    };
    push(ordered, Message::tool(message.tool_results().map(without_images).collect()));
    push(ordered, Message::new(Role::User, images));
}

/// One message of two neighbors. Two texts become one, because some templates accept only a string.
fn joined(first: &Message, second: &Message) -> Message {
    let mut parts = first.parts().to_vec();
    for part in second.parts() {
        match (parts.last_mut(), part) {
            (
                Some(Part::Text(TextPart { text, data: None, .. })),
                Part::Text(TextPart { text: more, data: None, .. }),
            ) => {
                text.push_str("\n\n");
                text.push_str(more);
            }
            _ => parts.push(part.clone()),
        }
    }
    Message::new(first.role(), parts)
}
