// The theme that was chosen on this device, set before the page is painted. Absent: the system's.
try {
  const theme = localStorage.getItem("theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch {
  // Storage is shut off: the system's theme it is.
}
