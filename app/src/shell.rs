//! The document around the pages: head, style sheet, hydration scripts. Rendered on the server only.

use leptos::nonce::use_nonce;
use leptos::prelude::*;
use leptos_meta::MetaTags;

use crate::App;

/// Sets the chosen theme before anything is painted; without a choice the system's holds.
const THEME_SCRIPT: &str = "try{const t=localStorage.getItem('theme');\
                            if(t==='dark'||t==='light')document.documentElement.dataset.theme=t}catch{}";

pub fn shell(options: LeptosOptions) -> impl IntoView {
    view! {
        <!DOCTYPE html>
        <html lang="en" data-socket="closed">
            <head>
                <meta charset="utf-8"/>
                <meta name="viewport" content="width=device-width, initial-scale=1"/>
                <meta name="color-scheme" content="light dark"/>
                <script nonce=use_nonce()>{THEME_SCRIPT}</script>
                <link rel="stylesheet" href="/pkg/backtranslate.css"/>
                <link rel="icon" type="image/svg+xml" href="/favicon.svg"/>
                <HydrationScripts options/>
                <MetaTags/>
            </head>
            <body>
                <App/>
            </body>
        </html>
    }
}
