//! The plain listener that sends visitors to `https://`, and does nothing else.

use reqwest::redirect::Policy;

use crate::harness::{Plan, Town};

const LISTENER: &str = r#"
    address = "127.0.0.1:0"
    redirect_to_https = true
    https_port = 8443
"#;

#[tokio::test]
async fn served_hosts_are_redirected_and_others_are_not() {
    let plan = Plan::default().routes(&["host = \"shop.example\"\npath = \"/account/**\"\nsession = \"require\""]);
    let town = Town::planned(plan.listener(LISTENER)).await;
    let plain = town.proxy.addresses()[1];
    let client = reqwest::Client::builder().no_proxy().redirect(Policy::none()).build().unwrap();
    let ask = |host: &'static str| {
        let url = format!("http://{plain}/a%2Fb?c=d");
        client.post(url).header("host", host).send()
    };

    let answer = ask("Shop.Example:80").await.unwrap();
    assert_eq!(answer.status(), 308);
    assert_eq!(answer.headers()["location"], "https://shop.example:8443/a%2Fb?c=d");
    assert_eq!(ask("other.example").await.unwrap().status(), 421);
    assert!(town.site.seen().is_empty());
    assert_eq!(town.minted(), 0);
}
