// SPDX-License-Identifier: Apache-2.0
// Sets the theme before the first paint, so that a dark page does not flash in white.
{
  const theme = localStorage.getItem("pol-theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
}
