use proptest::{prelude::*, sample::Index};

use super::*;
use crate::{Arguments, Image, ProviderData, RawJson};

fn call(id: &str) -> Part {
    Part::ToolCall(ToolCall::new(id, "look", Arguments::default()))
}

fn result(call_id: &str, text: &str) -> ToolResult {
    ToolResult::new(&ToolCall::new(call_id, "look", Arguments::default()), vec![Part::text(text)])
}

fn asks(ids: &[&str]) -> Message {
    Message::new(Role::Assistant, ids.iter().map(|id| call(id)).collect())
}

/// A transcript of these texts, alternately from the user and the assistant. The first one is the task.
fn talk(texts: &[&str]) -> Transcript {
    let mut transcript = Transcript::new();
    for (index, text) in texts.iter().copied().enumerate() {
        match index {
            0 => transcript.push_task(Message::user(text)).unwrap(),
            _ if index % 2 == 0 => transcript.push(Message::user(text)).unwrap(),
            _ => transcript.push(Message::assistant(text)).unwrap(),
        }
    }
    transcript
}

fn texts<'a>(messages: impl IntoIterator<Item = &'a Message>) -> Vec<String> {
    messages.into_iter().map(|message| message.text().into_owned()).collect()
}

fn ids(message: &Message) -> Vec<&str> {
    message.tool_calls().map(|call| call.id.as_str()).collect()
}

fn answers(message: &Message) -> Vec<(&str, String)> {
    let text = |result: &ToolResult| Message::new(Role::User, result.content.clone()).text().into_owned();
    message.tool_results().map(|result| (result.call_id.as_str(), text(result))).collect()
}

#[test]
fn results_are_stored_in_call_order() {
    let mut transcript = talk(&["task"]);
    transcript.push(asks(&["a", "b"])).unwrap();
    transcript.answer_calls(vec![result("b", "2"), result("a", "1")]).unwrap();
    assert_eq!(answers(&transcript.messages()[2]), [("a", "1".to_owned()), ("b", "2".to_owned())]);
    assert!(transcript.open_calls().is_empty());
}

#[test]
fn open_calls_accept_their_results_only() {
    let mut transcript = talk(&["task"]);
    transcript.push(asks(&["a", "b"])).unwrap();
    let early = transcript.push(Message::user("hurry"));
    assert_eq!(early, Err(TranscriptError::CallsOpen { open: 2, role: Role::User }));
    let half = transcript.answer_calls(vec![result("a", "1")]);
    assert_eq!(half, Err(TranscriptError::MissingResult { call_id: "b".into() }));
    let twice = transcript.answer_calls(vec![result("a", "1"), result("b", "2"), result("a", "3")]);
    assert_eq!(twice, Err(TranscriptError::UnknownCall { call_id: "a".into() }));
    assert_eq!(transcript.open_calls().len(), 2, "a refused message changes nothing");
}

#[test]
fn a_result_without_an_open_call_is_refused() {
    let mut transcript = talk(&["task"]);
    let stray = transcript.push(Message::tool(vec![result("a", "1")]));
    assert_eq!(stray, Err(TranscriptError::UnknownCall { call_id: "a".into() }));
}

#[test]
fn messages_that_providers_would_refuse_are_refused() {
    let mut transcript = Transcript::new();
    assert_eq!(transcript.push(Message::assistant("Hi!")), Err(TranscriptError::NothingAsked));
    assert_eq!(transcript.push(Message::system("Be kind.")), Err(TranscriptError::SystemMessage));
    let forged = Message::new(Role::User, vec![call("a")]);
    assert_eq!(transcript.push(forged), Err(TranscriptError::MisplacedPart { role: Role::User }));
    let empty = transcript.push_task(Message::tool(Vec::new()));
    assert_eq!(empty, Err(TranscriptError::NoTask { role: Role::Tool }));
    assert!(transcript.is_empty());
}

#[test]
fn abandoned_calls_get_an_error_result_with_the_reason() {
    let mut transcript = talk(&["task"]);
    transcript.push(asks(&["a", "b"])).unwrap();
    transcript.abandon_calls("cancelled");
    let reason = "cancelled".to_owned();
    assert_eq!(answers(&transcript.messages()[2]), [("a", reason.clone()), ("b", reason)]);
    assert!(transcript.messages()[2].tool_results().all(|result| result.is_error));
    transcript.push(Message::user("go on")).unwrap();
}

#[test]
fn duplicate_call_ids_are_replaced() {
    let mut transcript = talk(&["task"]);
    for round in [["call_0", "call_0"], ["call_0", ""], ["", "call_0_2"]] {
        transcript.push(asks(&round)).unwrap();
        transcript.abandon_calls("enough");
    }
    let all: Vec<_> = transcript.messages().iter().flat_map(ids).collect();
    assert_eq!(all, ["call_0", "call_0_2", "call_0_3", "call", "call_2", "call_0_2_2"]);
}

#[test]
fn a_call_with_a_replaced_id_loses_the_providers_form() {
    let raw = RawJson::parse(r#"{"call_id":"a"}"#.into()).unwrap();
    let data = Some(ProviderData::new("some", raw));
    let with_data = || {
        let Part::ToolCall(call) = call("a") else { unreachable!() };
        Message::new(Role::Assistant, vec![Part::ToolCall(call.data(data.clone()))])
    };
    let mut transcript = talk(&["task"]);
    for _ in 0..2 {
        transcript.push(with_data()).unwrap();
        transcript.abandon_calls("enough");
    }
    let kept: Vec<_> = transcript.messages().iter().flat_map(Message::tool_calls).map(|call| &call.data).collect();
    assert_eq!(kept, [&data, &None]);
}

#[test]
fn trimming_keeps_the_task_and_shows_the_summary_after_it() {
    let mut transcript = talk(&["task", "1", "2", "3", "4"]);
    let hidden = transcript.hide_before(3, Some(Message::assistant("summary")));
    assert_eq!(hidden, 2);
    assert_eq!(texts(transcript.visible()), ["task", "summary", "3", "4"]);
    assert_eq!(transcript.visible().nth(1).unwrap().role(), Role::User);
    assert_eq!(transcript.len(), 5, "nothing is removed");
}

#[test]
fn a_second_trim_includes_the_old_summary_but_does_not_count_it() {
    let mut transcript = talk(&["task", "1", "2", "3", "4"]);
    transcript.hide_before(2, Some(Message::user("summary of 1")));
    assert_eq!(texts(transcript.hidden_by(4)), ["summary of 1", "2", "3"]);
    assert_eq!(transcript.hide_before(4, Some(Message::user("summary of 1 to 3"))), 2);
    assert_eq!(texts(transcript.visible()), ["task", "summary of 1 to 3", "4"]);
}

#[test]
fn a_new_task_does_not_change_the_visible_messages_until_the_next_trim() {
    let mut transcript = talk(&["task", "1", "2", "3"]);
    transcript.hide_before(3, None);
    transcript.push_task(Message::user("new task")).unwrap();
    assert_eq!(texts(transcript.visible()), ["task", "3", "new task"]);
    transcript.push(Message::assistant("4")).unwrap();
    assert_eq!(texts(transcript.hidden_by(5)), ["task", "3"]);
    assert_eq!(transcript.hide_before(5, None), 2);
    assert_eq!(texts(transcript.visible()), ["new task", "4"]);
}

#[test]
fn before_the_task_the_visible_part_begins_with_a_user_message() {
    let mut transcript = talk(&["old", "1", "2", "3"]);
    transcript.push_task(Message::user("task")).unwrap();
    transcript.push(Message::assistant("5")).unwrap();
    assert_eq!(transcript.boundaries().collect::<Vec<_>>(), [2, 4, 5]);
    for elsewhere in [0, 1, 3, 6, usize::MAX] {
        assert_eq!(transcript.hide_before(elsewhere, Some(Message::user("summary"))), 0);
        assert_eq!(transcript.hidden_by(elsewhere).count(), 0);
    }
    assert_eq!(transcript.visible().count(), 6);
}

#[test]
fn a_call_is_never_separated_from_its_result() {
    let mut transcript = talk(&["task"]);
    transcript.push(asks(&["a"])).unwrap();
    transcript.answer_calls(vec![result("a", "1")]).unwrap();
    transcript.push(asks(&["b"])).unwrap();
    assert_eq!(transcript.boundaries().collect::<Vec<_>>(), [1, 3]);
}

#[test]
fn repair_joins_results_in_several_messages() {
    let history = [
        Message::user("task"),
        asks(&["a", "b"]),
        Message::tool(vec![result("b", "2")]),
        Message::tool(vec![result("a", "1")]),
        Message::assistant("done"),
    ];
    let transcript = Transcript::repaired(history);
    assert_eq!(answers(&transcript.messages()[2]), [("a", "1".to_owned()), ("b", "2".to_owned())]);
    assert_eq!(transcript.len(), 4);
}

#[test]
fn repair_takes_results_out_of_user_messages() {
    let parts = vec![Part::ToolResult(result("a", "1")), Part::text("and then?")];
    let transcript = Transcript::repaired([Message::user("task"), asks(&["a"]), Message::new(Role::User, parts)]);
    assert_eq!(answers(&transcript.messages()[2]), [("a", "1".to_owned())]);
    assert_eq!(transcript.messages()[3], Message::user("and then?"));
}

#[test]
fn repair_pairs_results_with_calls_whose_id_was_used_before() {
    let round = |text| [asks(&["call_0"]), Message::tool(vec![result("call_0", text)])];
    let history = [Message::user("task")].into_iter().chain(round("1")).chain(round("2"));
    let transcript = Transcript::repaired(history);
    assert_eq!(answers(&transcript.messages()[2]), [("call_0", "1".to_owned())]);
    assert_eq!(answers(&transcript.messages()[4]), [("call_0_2", "2".to_owned())]);
}

#[test]
fn repair_does_not_use_a_stray_result_for_a_later_call() {
    let stray = Message::tool(vec![result("a", "stray")]);
    let transcript = Transcript::repaired([Message::user("task"), stray, asks(&["a"])]);
    assert_eq!(answers(&transcript.messages()[2]), [("a", LOST_RESULT.to_owned())]);
}

#[test]
fn repair_adds_missing_results_and_drops_misplaced_parts() {
    use Role::{Assistant, Tool, User};
    let history = [
        Message::system("be kind"),
        Message::tool(vec![result("z", "stray")]),
        Message::assistant("welcome"),
        Message::user("task"),
        asks(&["a"]),
        Message::system("be brief"),
        Message::user(""),
        Message::new(Role::User, Vec::new()),
        asks(&["b"]),
    ];
    let transcript = Transcript::repaired(history);
    let roles: Vec<_> = transcript.messages().iter().map(Message::role).collect();
    assert_eq!(roles, [User, Assistant, User, Assistant, Tool, User, Assistant, Tool]);
    assert_eq!(answers(&transcript.messages()[4]), [("a", LOST_RESULT.to_owned())]);
}

#[test]
fn the_last_user_message_is_the_task_of_a_repaired_history() {
    let history = [Message::user("old"), Message::assistant("1"), Message::user("task"), Message::assistant("3")];
    let mut transcript = Transcript::repaired(history);
    transcript.hide_before(3, None);
    assert_eq!(texts(transcript.visible()), ["task", "3"]);
}

#[test]
fn the_serialized_form_has_all_messages() {
    let mut transcript = talk(&["task", "1", "2"]);
    transcript.push(asks(&["a"])).unwrap();
    transcript.hide_before(2, None);
    let json = serde_json::to_string(&transcript).unwrap();
    let loaded: Transcript = serde_json::from_str(&json).unwrap();
    assert_eq!(loaded.messages(), transcript.messages());
    assert_eq!(loaded.visible().count(), 4);
    assert_eq!(loaded.open_calls().len(), 1);
}

#[test]
fn an_invalid_history_cannot_be_deserialized() {
    let broken = serde_json::to_string(&[Message::user("task"), asks(&["a"]), Message::user("next")]).unwrap();
    let error = serde_json::from_str::<Transcript>(&broken).unwrap_err();
    assert!(error.to_string().starts_with("1 tool calls are still open"), "{error}");
}

/// Checks the rules of a strict provider.
fn assert_acceptable<'a>(messages: impl Iterator<Item = &'a Message>) {
    let messages: Vec<_> = messages.collect();
    assert!(messages.first().is_none_or(|first| first.role() == Role::User), "the user speaks first: {messages:?}");
    let mut open: Vec<&str> = Vec::new();
    for message in messages {
        let results: Vec<_> = message.tool_results().map(|result| result.call_id.as_str()).collect();
        assert_eq!(results, open, "results follow their calls at once and in order");
        let content = message.tool_results().flat_map(|result| &result.content);
        assert!(content.into_iter().all(|part| matches!(part, Part::Text(_) | Part::Image(_))));
        assert_ne!(message.role(), Role::System);
        assert_eq!(message.role() == Role::Tool, !results.is_empty());
        assert!(message.role() == Role::Assistant || message.tool_calls().next().is_none());
        open = ids(message);
    }
}

fn assert_valid(transcript: &Transcript) {
    assert_acceptable(transcript.messages().iter());
    assert_acceptable(transcript.visible());
    let mut ids: Vec<_> = transcript.messages().iter().flat_map(ids).collect();
    let count = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), count, "call ids are unique");
    let bytes: usize = transcript.visible().map(Message::size_bytes).sum();
    assert_eq!(transcript.visible_bytes(), bytes);
    if let Some(task) = transcript.messages().get(transcript.task) {
        assert_eq!(task.role(), Role::User);
        let shown = transcript.visible().filter(|message| std::ptr::eq(*message, task)).count();
        assert_eq!(shown, 1, "the task is visible exactly once");
    }
}

/// The number of visible messages without the summary.
fn shown(transcript: &Transcript) -> usize {
    transcript.visible().count() - usize::from(transcript.summary.is_some())
}

#[derive(Debug, Clone)]
enum Action {
    Push(Message),
    PushTask(Message),
    /// Answers the open calls, from the last to the first, and leaves out the call at this position.
    Answer(Option<usize>),
    Abandon,
    /// Hides before a boundary.
    Trim(Index, Option<Message>),
    /// Hides before any index.
    TrimAnywhere(usize, Option<Message>),
    Reload,
}

impl Action {
    fn apply(self, transcript: &mut Transcript) {
        match self {
            // Refusals are fine: the transcript must be valid afterwards.
            Self::Push(message) => drop(transcript.push(message)),
            Self::PushTask(message) => push_task(transcript, message),
            Self::Answer(without) => {
                let mut results: Vec<_> =
                    transcript.open_calls().iter().rev().map(|call| result(&call.id, "found")).collect();
                let complete = without.is_none_or(|place| place >= results.len());
                if let Some(place) = without.filter(|_| !complete) {
                    results.remove(place);
                }
                assert_eq!(transcript.answer_calls(results).is_ok(), complete);
            }
            Self::Abandon => transcript.abandon_calls("abandoned"),
            Self::Trim(index, summary) => {
                let boundaries: Vec<_> = transcript.boundaries().collect();
                if !boundaries.is_empty() {
                    trim(transcript, *index.get(&boundaries), summary);
                }
            }
            Self::TrimAnywhere(index, summary) => trim(transcript, index, summary),
            Self::Reload => {
                let json = serde_json::to_string(&transcript).unwrap();
                let loaded: Transcript = serde_json::from_str(&json).unwrap();
                assert_eq!(loaded.messages(), transcript.messages());
                *transcript = loaded;
            }
        }
    }
}

fn push_task(transcript: &mut Transcript, task: Message) {
    let before = texts(transcript.visible());
    if transcript.push_task(task).is_ok() {
        assert_eq!(transcript.task, transcript.len() - 1);
        assert!(texts(transcript.visible()).starts_with(&before), "the prompt only grows");
    }
}

fn trim(transcript: &mut Transcript, boundary: usize, summary: Option<Message>) {
    let (before, visible, len) = (shown(transcript), texts(transcript.visible()), transcript.len());
    let fits = transcript.boundaries().any(|index| index == boundary);
    let expected = transcript.hidden_by(boundary).count() - usize::from(fits && transcript.summary.is_some());
    let hidden = transcript.hide_before(boundary, summary);
    assert_eq!(hidden, before - shown(transcript));
    assert_eq!(hidden, expected);
    assert_eq!(transcript.len(), len);
    assert!(fits || texts(transcript.visible()) == visible);
}

fn any_part() -> impl Strategy<Value = Part> {
    let id = prop::sample::select(vec!["", "a", "b", "a_2", "call"]);
    prop_oneof![
        3 => "[a-z]{0,3}".prop_map(Part::text),
        3 => id.clone().prop_map(call),
        3 => (id, "[a-z]{0,3}").prop_map(|(id, text)| {
            let mut odd = result(id, &text);
            odd.content.push(call("nested"));
            Part::ToolResult(odd)
        }),
        1 => Just(Part::Image(Image::Url("https://example.org/a.png".into()))),
    ]
}

/// A message with any role and any parts.
fn any_message() -> impl Strategy<Value = Message> {
    let role = prop::sample::select(vec![Role::System, Role::User, Role::Assistant, Role::Assistant, Role::Tool]);
    (role, prop::collection::vec(any_part(), 0..5)).prop_map(|(role, parts)| Message::new(role, parts))
}

/// A message that is valid at some position of a conversation.
fn likely_message() -> impl Strategy<Value = Message> {
    let id = prop::sample::select(vec!["", "a", "b", "a_2", "call"]);
    prop_oneof![
        "[a-z]{1,3}".prop_map(Message::user),
        "[a-z]{1,3}".prop_map(Message::assistant),
        prop::collection::vec(id.clone(), 1..4).prop_map(|ids| asks(&ids)),
        prop::collection::vec(id, 1..4)
            .prop_map(|ids| Message::tool(ids.into_iter().map(|id| result(id, "found")).collect())),
    ]
}

fn any_action() -> impl Strategy<Value = Action> {
    let summary = || prop::option::of(any_message());
    prop_oneof![
        6 => likely_message().prop_map(Action::Push),
        2 => any_message().prop_map(Action::Push),
        2 => likely_message().prop_map(Action::PushTask),
        4 => Just(Action::Answer(None)),
        1 => (0_usize..3).prop_map(|place| Action::Answer(Some(place))),
        1 => Just(Action::Abandon),
        2 => (any::<Index>(), summary()).prop_map(|(index, summary)| Action::Trim(index, summary)),
        1 => (0_usize..20, summary()).prop_map(|(index, summary)| Action::TrimAnywhere(index, summary)),
        1 => Just(Action::Reload),
    ]
}

proptest! {
    #[test]
    fn no_sequence_of_actions_makes_a_conversation_that_a_provider_refuses(
        actions in prop::collection::vec(any_action(), 0..40),
    ) {
        let mut transcript = Transcript::new();
        for act in actions {
            act.apply(&mut transcript);
            assert_valid(&transcript);
        }
    }

    #[test]
    fn any_history_can_be_repaired(
        history in prop::collection::vec(prop_oneof![likely_message(), any_message()], 0..20),
        actions in prop::collection::vec(any_action(), 0..10),
    ) {
        let mut transcript = Transcript::repaired(history);
        assert_valid(&transcript);
        assert!(transcript.open_calls().is_empty());
        let again = Transcript::repaired(transcript.messages().iter().cloned());
        prop_assert_eq!(again.messages(), transcript.messages(), "a valid transcript is unchanged");
        for act in actions {
            act.apply(&mut transcript);
            assert_valid(&transcript);
        }
    }

    #[test]
    fn repair_loses_no_text(
        history in prop::collection::vec(prop_oneof![likely_message(), any_message()], 0..20),
    ) {
        let words: Vec<_> = history
            .iter()
            .filter(|message| matches!(message.role(), Role::User | Role::Assistant))
            .map(|message| message.text().into_owned())
            .filter(|text| !text.is_empty())
            .collect();
        let kept = texts(Transcript::repaired(history).messages());
        let kept: Vec<_> = kept.into_iter().filter(|text| !text.is_empty() && text != LOST_QUESTION).collect();
        prop_assert_eq!(kept, words);
    }
}
