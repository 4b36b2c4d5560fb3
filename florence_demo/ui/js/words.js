// Our words in the visitor's language. The English words are the keys; gradio chooses the language
// and hands over the tables. What gradio draws it translates itself; this does the rest:
//   data-words on an element: all text and labels in it, as they arrive, are ours. What a script or
//     a model writes there later is left alone. data-words="all": what comes there
//     later too, for HTML of the server, which gradio writes into the elements that are there already.
//     data-words="label": the element's own labels alone.
//   fd.say(words, values): our words with values in them, for scripts. A sentence of the server that
//     has its values in it already is found by its form.
//   fd.number(value), fd.tell(words): a number as one writes it; words for who hears the page.
window.fd = (() => {
  const tables = {...((window.gradio_config && window.gradio_config.i18n_translations) || {})};
  Object.entries(window.fdNames).forEach(([each, words]) => { tables[each] = {...tables[each], ...words}; });
  const OURS = '[data-words], [data-testid=toast-text], .toast-title-row';
  const AMOUNT = /^(\d[\d,]*)(\.\d+)?(%| (?:[kMGT]?B|s|min|h|million|(?:second|minute|hour|day)s?))?$/;
  // Gradio has words of its own in English alone, most of them for who hears the page.
  const GRADIOS = ':is(button, input, [role=button], .empty)[aria-label]:not([class*=fd-])';
  const SENTENCES = ['problem', 'notice', 'why', 'more']; // values that are sentences of ours
  const LABELS = ['aria-label', 'aria-valuetext', 'title', 'placeholder', 'alt'];
  const page = document.documentElement;
  let language, plural, numbers, forms;

  const number = (value, options) =>
    options ? new Intl.NumberFormat(language, options).format(value) : numbers.format(value);
  const has = words => Object.hasOwn(tables[language] || {}, words);
  const form = (words, values) => {
    const found = has(words) ? tables[language][words] : words;
    return typeof found === 'string' ? found : found[plural.select(values.n)] || found.other;
  };
  const fill = (words, values) => words.replace(/\{(\w+)\}/g, (all, name) => {
    const value = values[name];
    return value === undefined ? all : typeof value === 'number' ? number(value) : value;
  });

  // "1,234", "12.5%", "3 minutes" as one writes it in the language, with as many digits.
  const amount = words => {
    const found = words.match(AMOUNT);
    if (!found) return null;
    const [, whole, digits = '', unit = ''] = found;
    const value = Number(whole.replace(/,/g, '') + digits), name = unit.trim().replace(/s$/, '');
    const places = {minimumFractionDigits: digits.length && digits.length - 1,
      maximumFractionDigits: digits.length && digits.length - 1};
    if (!unit) return digits ? number(value, places) : value;
    if (unit === '%') return number(value / 100, {style: 'percent', ...places});
    if (name === 'million') return number(value * 1e6, {notation: 'compact', compactDisplay: 'long'});
    return /^(second|minute|hour|day)$/.test(name)
      ? number(value, {style: 'unit', unit: name, unitDisplay: 'long', ...places})
      : number(value, places) + unit;
  };
  // A name that begins a sentence has a capital letter there.
  const part = words => {
    if (has(words)) return form(words, {});
    const small = words[0].toLowerCase() + words.slice(1);
    if (!has(small)) return amount(words) ?? words;
    const said = form(small, {});
    return said[0].toUpperCase() + said.slice(1);
  };

  // "There are {n} of {what}" as a pattern, so that a sentence of that form is known again.
  const pattern = words => ({
    words,
    names: [...words.matchAll(/\{(\w+)\}/g)].map(found => found[1]),
    shape: new RegExp(`^${words.replace(/[.*+?^$()|[\]\\]/g, '\\$&')
      .replace(/\{\w+\}/g, '([^]+?)')}$`),
  });
  const recognized = sentence => {
    if (has(sentence)) return form(sentence, {});
    return formed(sentence) ?? alone(sentence);
  };
  const formed = sentence => {
    forms ||= Object.keys(tables[language] || {}).filter(words => words.includes('{'))
      .sort((a, b) => b.length - a.length).map(pattern);
    for (const {words, names, shape} of forms) {
      const found = sentence.match(shape);
      if (!found) continue;
      const values = {};
      names.forEach((name, i) => {
        values[name] = SENTENCES.includes(name) ? recognized(found[i + 1]) : part(found[i + 1]);
      });
      return fill(form(words, values), values);
    }
    return null;
  };
  const alone = sentence => {
    const found = part(sentence);
    return typeof found === 'number' ? number(found) : found;
  };
  const say = (words, values) => {
    if (!words) return '';
    // In English a sentence stays as it is, but for those of gradio that are said in ours.
    if (!values && !has(words)) return language === 'en' ? formed(words) ?? words : recognized(words);
    return fill(form(words, values || {}), values || {});
  };

  const english = new WeakMap(); // of a text or a label that was translated: both wordings
  const turn = (node, known) => {
    const before = english.get(node);
    const source = before && before.shown === node.nodeValue ? before.source : node.nodeValue;
    const words = source.trim();
    if (!words || (known && !before)) return;
    const shown = source.replace(words, () => say(words));
    english.set(node, {source, shown});
    if (node.nodeValue !== shown) node.nodeValue = shown;
  };
  const walk = (root, known) => {
    const inside = root.dataset.words === 'label' ? [] : root.querySelectorAll('*');
    [root, ...inside].forEach(each => LABELS.forEach(name => {
      if (each.hasAttribute(name)) turn(each.getAttributeNode(name), known);
    }));
    if (root.dataset.words === 'label') return;
    const texts = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
    while (texts.nextNode()) turn(texts.currentNode, known);
  };

  const choose = () => {
    const asked = page.lang || 'en';
    if (asked === choose.written) return;
    const base = asked.split('-')[0];
    language = base in tables ? base : 'en';
    // What is read out must be called what it is: of Chinese there is one writing.
    choose.written = language !== base ? 'en' : language === 'zh' ? 'zh-CN' : asked;
    page.lang = choose.written;
    plural = new Intl.PluralRules(language);
    numbers = new Intl.NumberFormat(language);
    forms = null;
    document.querySelectorAll(OURS).forEach(root => walk(root, true));
    document.dispatchEvent(new CustomEvent('fd-language'));
  };
  choose();
  new MutationObserver(choose).observe(page, {attributes: true, attributeFilter: ['lang']});
  // One message is one, also where several parts of the page stumble over the same file.
  const once = text => {
    const item = text.closest('.toast-message-item'), body = text.closest('[data-testid=toast-body]');
    const others = [...(body ? body.querySelectorAll('.toast-message-item') : [])]
      .filter(other => other !== item && other.style.display !== 'none');
    if (!item || !others.some(other => other.textContent === item.textContent)) return;
    const beside = item.previousElementSibling || item.nextElementSibling;
    [item, beside].forEach(each => { if (each) each.style.display = 'none'; });
  };
  const arrived = node => {
    if (node.nodeType !== Node.ELEMENT_NODE) return;
    [node, ...node.querySelectorAll(`${OURS}, ${GRADIOS}`)].forEach(each => {
      if (each.matches(OURS)) walk(each);
      else if (each.matches(GRADIOS)) turn(each.getAttributeNode('aria-label'));
      if (each.matches('.toast-message-text')) once(each);
    });
  };
  new MutationObserver(changes => {
    const changed = new Set();
    changes.forEach(({target, addedNodes}) => {
      addedNodes.forEach(arrived);
      const at = target.nodeType === Node.TEXT_NODE ? target.parentElement : target;
      const around = at && at.closest('[data-words=all], [data-words=label]');
      if (around && (around === at || around.dataset.words === 'all')) changed.add(around);
    });
    changed.forEach(each => walk(each));
  }).observe(page, {childList: true, characterData: true, subtree: true, attributes: true,
    attributeFilter: [...LABELS, 'data-words']});

  const tell = words => {
    const status = document.querySelector('#fd-status');
    if (status) status.textContent = say(words);
  };
  return {say, number, tell};
})();
