"use strict";
// A question before what cannot be taken back.
document.addEventListener("submit", (event) => {
  const question = event.target.dataset.confirm;
  if (question && !window.confirm(question)) event.preventDefault();
});
// A file that is too large is not sent for nothing, and a form that takes its time says so.
document.addEventListener("change", (event) => {
  const field = event.target;
  if (!field.dataset?.most) return;
  const large = [...field.files].some((file) => file.size > Number(field.dataset.most));
  field.setCustomValidity(large ? "This file is larger than an upload may be." : "");
  field.reportValidity();
});
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (!form.dataset.busy || event.defaultPrevented) return;
  const button = form.querySelector("button");
  button.disabled = true;
  button.textContent = form.dataset.busy;
});
// One click copies a command.
document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const text = document.getElementById(button.dataset.copy).textContent;
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    button.textContent = "Select and copy";
  }
  setTimeout(() => { button.textContent = "Copy"; }, 2000);
});
document.addEventListener("DOMContentLoaded", () => {
  const area = navigator.clipboard ? document.querySelectorAll("[data-copy][hidden]") : [];
  for (const button of area) button.hidden = false;
});
// A page that nobody looks at does not ask.
document.addEventListener("htmx:beforeRequest", (event) => {
  if (document.hidden) event.preventDefault();
});
// A list that was scrolled stays where it was when it comes anew.
let scrolled = 0;
document.addEventListener("htmx:beforeSwap", () => {
  scrolled = document.querySelector(".events")?.scrollTop ?? 0;
});
document.addEventListener("htmx:afterSwap", () => {
  const list = document.querySelector(".events");
  if (list) list.scrollTop = scrolled;
});
