use crate::harness::{Plan, Town};

const ROUTES: [&str; 1] = [r#"path = "/account/**"
    session = "require"
    on_missing = "issue""#];

#[tokio::test]
async fn what_cannot_be_recorded_is_handed_to_nobody() {
    let town = Town::planned(Plan::default().routes(&ROUTES)).await;
    town.can_record(false);

    let mut visitor = town.visitor();
    let answer = visitor.visit("/").await;
    assert_eq!(answer.status, 200, "the site stays up");
    assert_eq!(answer.headers.get("set-cookie"), None);
    assert_eq!(town.site_saw().headers.get("x-genesys-session-id"), None, "the site hears of no session either");

    let answer = visitor.visit("/account/").await;
    assert_eq!(answer.status, 503);
    assert_eq!(answer.headers.get("set-cookie"), None);
    assert!(answer.headers.contains_key("retry-after"));
    assert_eq!(town.events(), ["mint failed", "mint failed", "refused"], "and nobody is told that there was one");

    town.can_record(true);
    assert!(visitor.visit("/account/").await.headers.contains_key("set-cookie"), "it goes on by itself");
}
