//! An error as a person can act on it: what happened, then what to do.

use leptos::prelude::*;

use spec::AppError;

pub fn error_box(error: AppError) -> AnyView {
    view! {
        <div class="error" role="alert" data-code=error.code.as_str()>
            <p>{error.message}</p>
            {(!error.hint.is_empty()).then(|| view! { <p class="hint">{error.hint}</p> })}
        </div>
    }
    .into_any()
}

/// The same for an error that comes and goes.
pub fn error_slot(error: RwSignal<Option<AppError>>) -> AnyView {
    (move || error.get().map(error_box)).into_any()
}

#[cfg(all(test, feature = "ssr"))]
mod tests {
    use super::*;

    #[test]
    fn hostile_texts_of_errors_are_escaped() {
        let html = error_box(AppError::internal("<script>alert(1)</script>", "\"><img src=x>")).to_html();
        assert!(!html.contains("<script>") && !html.contains("<img"), "{html}");
        assert!(html.contains("role=\"alert\""), "{html}");
    }
}
