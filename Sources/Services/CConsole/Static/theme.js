// Before the page is drawn, so that it never flashes in the other scheme.
(() => {
  let chosen = null;
  try { chosen = localStorage.getItem("vecraft-theme"); } catch { /* storage may be forbidden */ }
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
})();
