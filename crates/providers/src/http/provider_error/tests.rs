use std::time::Duration;

use http::{HeaderMap, HeaderValue, StatusCode};

use super::*;

fn failed(status: u16, body: &str) -> ModelError {
    failed_with(status, &[], body)
}

fn failed_with(status: u16, headers: &[(&'static str, &'static str)], body: &str) -> ModelError {
    let pairs = headers.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value)));
    let headers: HeaderMap = pairs.collect();
    from_response(&ResponseHead::new(StatusCode::from_u16(status).unwrap(), &headers), body.as_bytes())
}

fn streamed(body: &str) -> ModelError {
    in_band(serde_json::from_str(body).unwrap())
}

#[test]
fn every_documented_error_has_its_kind() {
    use ModelErrorKind as Kind;
    let cases = [
        (429, r#"{"error":{"code":"rate_limit_exceeded","type":"requests","message":"slower"}}"#, Kind::RateLimited),
        (429, r#"{"error":{"code":"slow_down","message":"slower"}}"#, Kind::RateLimited),
        (429, r#"{"error":{"code":null,"type":"insufficient_quota","message":"pay"}}"#, Kind::Quota),
        (429, r#"{"error":{"code":"project_spend_limit_exceeded","message":"pay"}}"#, Kind::Quota),
        (429, r#"{"error":{"code":"credit_balance_exhausted","message":"pay"}}"#, Kind::Quota),
        (429, r#"{"type":"error","error":{"type":"rate_limit_error","message":"x"}}"#, Kind::RateLimited),
        (
            429,
            r#"{"type":"error","error":{"type":"rate_limit_error","message":"x","details":{"error_code":"enforced_spend_limit_reached"}}}"#,
            Kind::Quota,
        ),
        (402, r#"{"type":"error","error":{"type":"billing_error","message":"x"}}"#, Kind::Quota),
        (
            400,
            r#"{"error":{"type":"invalid_request_error","message":"Your credit balance is too low to access the API."}}"#,
            Kind::Quota,
        ),
        (503, r#"{"error":{"code":"server_is_overloaded","message":"x"}}"#, Kind::Overloaded),
        (529, r#"{"type":"error","error":{"type":"overloaded_error","message":"x"}}"#, Kind::Overloaded),
        (529, "", Kind::Overloaded),
        (500, r#"{"type":"error","error":{"type":"api_error","message":"x"}}"#, Kind::Transient),
        (502, "<html>Bad gateway</html>", Kind::Transient),
        (503, "upstream connect error or disconnect/reset before headers", Kind::Transient),
        (408, "", Kind::Transient),
        (409, r#"{"error":{"type":"invalid_request_error","message":"x"}}"#, Kind::Transient),
        (401, r#"{"error":{"message":"Unauthorized","type":"api_error","code":null}}"#, Kind::Auth),
        (401, r#"{"detail":"Invalid API Key"}"#, Kind::Auth),
        (403, r#"{"error":{"code":"forbidden","type":"invalid_request_error","message":"x"}}"#, Kind::Auth),
        (400, r#"{"code":"invalid-argument","error":"Incorrect API key provided: xa***"}"#, Kind::Auth),
        (400, r#"{"object":"error","message":"no","type":"BadRequestError","code":400}"#, Kind::Caller),
        (413, r#"{"error":{"type":"request_too_large","message":"x"}}"#, Kind::Caller),
        (422, r#"{"detail":[{"loc":["body"],"msg":"Field required","type":"missing"}]}"#, Kind::Caller),
        (400, r#"{"error":{"code":"context_length_exceeded","message":"x"}}"#, Kind::ContextLength),
        (
            400,
            r#"{"error":{"type":"invalid_request_error","message":"prompt is too long: 9 > 8"}}"#,
            Kind::ContextLength,
        ),
        (
            413,
            r#"{"error":{"message":"Request too large for model `x` on tokens per minute","type":"tokens","code":"rate_limit_exceeded"}}"#,
            Kind::ContextLength,
        ),
        (400, r#"{"error":{"code":"content_filter","message":"filtered"}}"#, Kind::Refused),
        (400, r#"{"error":{"code":"tool_use_failed","message":"x","failed_generation":"…"}}"#, Kind::Broken),
        (429, r#"[{"error":{"code":429,"message":"x","status":"RESOURCE_EXHAUSTED"}}]"#, Kind::RateLimited),
    ];
    for (status, body, kind) in cases {
        assert_eq!(failed(status, body).kind(), kind, "{status} {body}");
    }
}

/// How each vendor says that a model is unknown, withdrawn, or not open to the account.
const NOT_SERVED: [(u16, &str); 34] = [
    (
        404,
        r#"{"error":{"message":"The model `x` does not exist or you do not have access to it.","code":"model_not_found"}}"#,
    ),
    (400, r#"{"error":{"message":"The requested model 'x' does not exist.","code":"model_not_found"}}"#),
    (403, r#"{"error":{"message":"Project `p` does not have access to model `x`","code":"model_not_found"}}"#),
    (404, r#"{"type":"error","error":{"type":"not_found_error","message":"model: claude-x"}}"#),
    (
        404,
        r#"{"error":{"code":"DeploymentNotFound","message":"The API deployment for this resource does not exist."}}"#,
    ),
    (404, r#"{"error":{"code":"404","message":"Resource not found"}}"#),
    (410, r#"{"error":{"code":"ModelDeprecated","message":"The model has been retired."}}"#),
    (
        400,
        r#"{"error":{"code":"OperationNotSupported","message":"The chatCompletion operation does not work with the specified model, x."}}"#,
    ),
    (
        400,
        r#"{"error":{"message":"The model `x` has been decommissioned and is no longer supported.","type":"invalid_request_error","code":"model_decommissioned"}}"#,
    ),
    (
        400,
        r#"{"error":{"message":"The model `x` requires terms acceptance.","type":"invalid_request_error","code":"model_terms_required"}}"#,
    ),
    (
        403,
        r#"{"error":{"message":"The model `x` is blocked at the project level.","type":"permissions_error","code":"model_permission_blocked_project"}}"#,
    ),
    (404, r#"{"error":{"message":"No endpoints found for x.","code":404}}"#),
    (400, r#"{"error":{"message":"x/y is not a valid model ID","code":400}}"#),
    (400, r#"{"object":"error","message":"Invalid model: x","type":"invalid_model","param":null,"code":"1500"}"#),
    (400, r#"{"error":{"message":"Model Not Exist","type":"invalid_request_error","code":"invalid_request_error"}}"#),
    (
        404,
        r#"{"error":{"message":"Unable to access model x.","type":"invalid_request_error","code":"model_not_available"}}"#,
    ),
    (404, r#"{"error":{"message":"model 'x' not found","type":"not_found_error","param":null,"code":null}}"#),
    (404, r#"{"error":{"message":"model \"x\" not found, try pulling it first","type":"api_error","code":null}}"#),
    (
        400,
        r#"{"error":{"message":"registry.ollama.ai/library/x does not support tools","type":"api_error","code":null}}"#,
    ),
    (
        404,
        r#"{"object":"error","message":"The model `x` does not exist.","type":"NotFoundError","param":null,"code":404}"#,
    ),
    (400, r#"{"error":{"message":"No models loaded. Please load a model.","type":"invalid_request_error"}}"#),
    (404, r#"[{"error":{"code":404,"message":"models/x is not found for API version v1main","status":"NOT_FOUND"}}]"#),
    (400, r#"{"code":"invalid-argument","error":"Model not found: x"}"#),
    (404, r#"{"error":{"message":"Not found the model x or Permission denied","type":"resource_not_found_error"}}"#),
    (400, r#"{"error":{"code":"1211","message":"Unknown Model, please check the model code."}}"#),
    (400, r#"{"error":{"message":"Invalid model name passed in model=x.","code":"400"}}"#),
    (400, r#"{"message":"The provided model identifier is invalid."}"#),
    (404, r#"{"message":"This model version has reached the end of its life."}"#),
    (404, "404 page not found"),
    (404, r#"{"detail":"Not Found"}"#),
    (405, r#"{"detail":"Method Not Allowed"}"#),
    (410, ""),
    (301, ""),
    (307, ""),
];

#[test]
fn a_model_that_is_not_served_is_the_deployments_failure_in_every_vendors_words() {
    for (status, body) in NOT_SERVED {
        let error = failed(status, body);
        assert_eq!((error.kind(), error.retry()), (ModelErrorKind::NoSuchModel, RetryAdvice::Never), "{status} {body}");
    }
    let in_stream = r#"{"error":{"message":"The model `x` has been decommissioned.","code":"model_decommissioned"}}"#;
    assert_eq!(streamed(in_stream).kind(), ModelErrorKind::NoSuchModel);
}

#[test]
fn an_item_that_a_request_refers_to_and_that_does_not_exist_is_the_callers_failure() {
    let cases = [
        r#"{"error":{"message":"Item with id 'rs_1' not found.","type":"invalid_request_error","param":"input"}}"#,
        r#"{"error":{"message":"Previous response with id 'resp_1' not found.","type":"invalid_request_error"}}"#,
        r#"{"type":"error","error":{"type":"not_found_error","message":"File not found: file_011C"}}"#,
    ];
    for body in cases {
        assert_eq!(failed(404, body).kind(), ModelErrorKind::Caller, "{body}");
    }
}

#[test]
fn an_error_in_a_successful_response_is_classified_by_text_or_inner_status() {
    use ModelErrorKind as Kind;
    assert_eq!(
        streamed(r#"{"details":null,"type":"overloaded_error","message":"Overloaded"}"#).kind(),
        Kind::Overloaded
    );
    assert_eq!(streamed(r#"{"error":{"code":502,"message":"upstream"}}"#).kind(), Kind::Transient);
    assert_eq!(streamed(r#"{"type":"error","code":"rate_limit_exceeded","message":"x"}"#).kind(), Kind::RateLimited);
    assert_eq!(streamed(r#"{"code":"server_error","message":"x"}"#).kind(), Kind::Transient);
    assert_eq!(streamed(r#"{"type":"invalid_request_error","message":"x"}"#).kind(), Kind::Caller);
    assert_eq!(streamed(r#""something went wrong""#).kind(), Kind::Transient);
    let nested = streamed(r#"{"code":429,"message":"Provider returned error","metadata":{"raw":"try later"}}"#);
    assert_eq!((nested.kind(), &*nested.details().message), (Kind::RateLimited, "Provider returned error: try later"));
    assert_eq!(nested.details().status, None);
}

#[test]
fn a_list_of_invalid_fields_names_the_first_with_its_path_and_without_its_content() {
    let body = r#"{"detail":[{"type":"extra_forbidden","loc":["body","messages",0,"user"],"msg":"Extra inputs are not permitted","input":"private"},{"loc":["body"],"msg":"x"}]}"#;
    assert_eq!(failed(422, body).details().message, "body.messages.0.user: Extra inputs are not permitted");
    assert_eq!(failed(422, r#"{"detail":[{"msg":"Field required"}]}"#).details().message, "Field required");
}

#[test]
fn an_error_page_is_shortened_and_has_no_control_characters() {
    let error = failed(502, &format!("<html>\u{1b}[31m\r\n{}", "x".repeat(1 << 20)));
    let message = &error.details().message;
    assert_eq!(message, "a page of HTML");
    let titled = failed(502, "<html><head><title>502 Bad\r\nGateway</title></head><body>private</body>");
    assert_eq!(titled.details().message, "a page of HTML: 502 Bad  Gateway");
    assert!(message.len() <= MAX_MESSAGE_BYTES && !message.contains(char::is_control));
    let error = failed(500, &format!(r#"{{"error":{{"message":"{}"}}}}"#, "é".repeat(5_000)));
    assert!(error.details().message.len() <= MAX_MESSAGE_BYTES);
}

#[test]
fn the_providers_retry_advice_overrides_the_kind() {
    let limited = r#"{"error":{"code":"rate_limit_exceeded","message":"x"}}"#;
    let advice = |headers: &[_]| failed_with(429, headers, limited).retry();
    assert_eq!(advice(&[]), RetryAdvice::Backoff);
    assert_eq!(advice(&[("retry-after", "2")]), RetryAdvice::After(Duration::from_secs(2)));
    assert_eq!(advice(&[("retry-after", "banana")]), RetryAdvice::Backoff);
    assert_eq!(advice(&[("retry-after", "2"), ("x-should-retry", "false")]), RetryAdvice::Never);
    let exhausted = [("x-ratelimit-remaining-tokens", "0"), ("x-ratelimit-reset-tokens", "6s")];
    assert_eq!(advice(&exhausted), RetryAdvice::After(Duration::from_secs(6)));
    assert_eq!(failed_with(400, &[("x-should-retry", "true")], "").retry(), RetryAdvice::Backoff);
    let empty = r#"{"error":{"type":"insufficient_quota","message":"x"}}"#;
    assert_eq!(failed_with(429, &[("x-should-retry", "true")], empty).retry(), RetryAdvice::Never);
}

#[test]
fn a_wait_in_the_body_is_obeyed() {
    let google = r#"[{"error":{"code":429,"message":"Quota exceeded.","status":"RESOURCE_EXHAUSTED","details":[{"@type":"type.googleapis.com/google.rpc.Help"},{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"4s"}]}}]"#;
    let router = format!(
        r#"{{"error":{{"code":429,"message":"Rate limit exceeded","metadata":{{"headers":{{"X-RateLimit-Limit":"20","X-RateLimit-Remaining":"0","X-RateLimit-Reset":"{}"}}}}}}}}"#,
        Timestamp::now().as_millisecond() + 4_400
    );
    for body in [
        google,
        &router,
        r#"{"error":{"message":"slower","code":"rate_limit_exceeded","retry_after":4}}"#,
        r#"{"error":{"message":"slower","code":"rate_limit_exceeded"},"retry_after_ms":"4000"}"#,
        r#"{"error":{"message":"Rate limit reached for x. Please try again in 4s. Visit …","code":"rate_limit_exceeded"}}"#,
        r#"{"error":{"message":"Rate limit reached. Please try again in 4000ms.","code":"rate_limit_exceeded"}}"#,
        r#"{"error":{"message":"You exceeded your current quota. Please retry in 4.0s."}}"#,
        r#"{"error":{"code":"429","message":"Requests have exceeded the rate limit. Please retry after 4 seconds."}}"#,
    ] {
        let in_band = streamed(body.trim_start_matches('[').trim_end_matches(']'));
        for error in [failed(429, body), in_band] {
            assert_eq!(error.kind(), ModelErrorKind::RateLimited, "{body}");
            let RetryAdvice::After(wait) = error.retry() else { panic!("{body} {error:?}") };
            assert!((4_000..4_500).contains(&wait.as_millis()), "{body} {wait:?}");
            assert_eq!(error.details().limits.retry_after, Some(wait));
        }
    }
    // The header is more exact, and a wait does not make a request valid.
    assert_eq!(failed_with(429, &[("retry-after", "9")], google).retry(), RetryAdvice::After(Duration::from_secs(9)));
    let caller = r#"{"error":{"message":"Invalid. Retry after 4 seconds.","type":"invalid_request_error"}}"#;
    assert_eq!(failed(400, caller).retry(), RetryAdvice::Never);
}

#[test]
fn a_date_is_read_against_the_date_of_the_response() {
    let date = "Mon, 02 Jun 2025 15:14:45 GMT";
    for (header, value) in [
        ("retry-after", "Mon, 02 Jun 2025 15:14:52 GMT"),
        ("anthropic-ratelimit-requests-reset", "2025-06-02T15:14:52Z"),
        ("x-ratelimit-reset-requests", "1748877292"),
    ] {
        let remaining = [("anthropic-ratelimit-requests-remaining", "0"), ("x-ratelimit-remaining-requests", "0")];
        let headers = [remaining[0], remaining[1], ("date", date), (header, value)];
        let error = failed_with(429, &headers, "");
        assert_eq!(error.retry(), RetryAdvice::After(Duration::from_secs(7)), "{header}");
    }
}

#[test]
fn a_redirect_names_its_origin() {
    for (status, location, named) in [
        (301, "https://api.example.com/v1/chat?prompt=private", "https://api.example.com;"),
        (307, "http://10.0.0.7:8080/", "http://10.0.0.7:8080;"),
        (308, "/v1/private", "another path of the same server;"),
        (302, "javascript:private", "the provider gave no reason"),
    ] {
        let headers = HeaderMap::from_iter([(http::header::LOCATION, HeaderValue::from_static(location))]);
        let error = from_response(&ResponseHead::new(StatusCode::from_u16(status).unwrap(), &headers), b"");
        assert_eq!((error.kind(), error.retry()), (ModelErrorKind::NoSuchModel, RetryAdvice::Never), "{location}");
        let message = error.to_string();
        assert!(message.contains(named) && !message.contains("private"), "{message}");
    }
}

#[test]
fn the_request_id_is_in_the_header_or_the_body() {
    let body = r#"{"type":"error","error":{"type":"api_error","message":"x"},"request_id":"req_body"}"#;
    assert_eq!(failed(500, body).details().request_id.as_deref(), Some("req_body"));
    let error = failed_with(500, &[("request-id", "req_head")], body);
    assert_eq!(error.details().request_id.as_deref(), Some("req_head"));
}

#[test]
fn error_messages_never_contain_a_part_of_an_answer() {
    let error = not_an_answer("the body", br#"{"choices":[{"message":{"content":"a secret"#);
    assert_eq!(error.kind(), ModelErrorKind::Broken);
    assert!(!error.to_string().contains("secret"));
}
