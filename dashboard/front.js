// A page that changes its own address is still the same step of the browser's history: Back leaves it in one press. On
// a telephone the sidebar lies over the page: it closes as another page is opened from it.
{
  const push = history.pushState
  history.pushState = function (state, unused, url) {
    const same = new URL(url ?? location.href, location.href).pathname === location.pathname
    if (!same && innerWidth < 768) document.querySelector('[data-testid="stSidebarCollapseButton"] button')?.click()
    return (same ? history.replaceState : push).call(this, state, unused, url)
  }
}

// What opens over a page can be longer than the window: the keyboard has to be able to scroll it.
addEventListener("DOMContentLoaded", () => new MutationObserver(() => {
  for (const opened of document.querySelectorAll('[data-testid="stPopoverBody"]:not([tabindex])')) opened.tabIndex = 0
}).observe(document.body, {childList: true, subtree: true}))
