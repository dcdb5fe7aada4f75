//! What calls bring that is not what is asked for: each is told what is wrong with it.

use super::*;

/// A call of the socket with a body, and these fields.
fn call(running: &Running, what: &str, fields: &str, body: &str) -> (u16, Value) {
    let length = body.len();
    let head = format!("{what} HTTP/1.1\r\nHost: admin\r\n{fields}Content-Length: {length}\r\n\r\n");
    let answer = running.unix(&format!("{head}{body}"));
    (answer.status, answer.json())
}

#[test]
fn a_body_that_is_too_large_is_told_so_with_the_bound() {
    let running = start();
    for what in
        ["POST /levers", "DELETE /levers/1", "POST /break-glass", "DELETE /break-glass", "POST /reload"]
    {
        let (status, said) = call(&running, what, "", &" ".repeat(3 << 20));
        assert_eq!((status, &said["error"]), (413, &json!("body_too_large")), "{what}: {said}");
        assert!(said["what"].as_str().unwrap().contains("1 MiB"), "{what}: {said}");
    }
}

#[test]
fn a_list_of_values_is_no_body() {
    let running = start();
    for (what, body) in [
        ("POST /levers", r#"["cap cell mt rps 900","positional",null,5]"#),
        ("DELETE /levers/1", r#" ["ann", "it is out"]"#),
        ("POST /break-glass", r#"["keep","it burns",null,60]"#),
        ("DELETE /break-glass", "[]"),
        ("POST /reload", "[true]"),
    ] {
        let (status, said) = call(&running, what, "", body);
        assert_eq!((status, &said["error"]), (400, &json!("bad_body")), "{what}: {said}");
    }
}

#[test]
fn a_lever_is_released_without_a_body_for_nothing_in_it_has_to_be_said() {
    let running = start();
    // Nobody keeps levers here, and that is as far as a call with nothing wrong in it comes.
    for body in ["", " \n", "{}", r#"{"by":"ann"}"#] {
        let (status, said) = call(&running, "DELETE /levers/1", "", body);
        assert_eq!((status, &said["error"]), (503, &json!("not_now")), "{body}: {said}");
    }
    assert_eq!(call(&running, "DELETE /levers/1", "", "{").0, 400);
    assert_eq!(call(&running, "POST /levers", "", "").0, 400);
}

#[test]
fn what_is_wrong_with_an_authorization_is_told() {
    let running = start();
    for (fields, error) in [
        ("Authorization: Bearer a\r\nAuthorization: Bearer a\r\n", "two_tokens"),
        ("Authorization: Basic YTpi\r\n", "not_bearer"),
        ("Authorization: cga_00\r\n", "not_bearer"),
        ("Authorization: \r\n", "not_bearer"),
        // Without a file of tokens nobody has one.
        ("Authorization: Bearer\r\n", "token_unknown"),
        ("Authorization: bearer cga_00\r\n", "token_unknown"),
    ] {
        let (status, said) = call(&running, "GET /cells", fields, "");
        assert_eq!((status, &said["error"]), (401, &json!(error)), "{fields}");
    }
}
