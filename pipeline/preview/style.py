"""The page's looks: light and dark as the reader's system has it, one column on a phone, printable."""

from __future__ import annotations

import base64
import hashlib

from .markup import Html, tag

CSS = """
:root{color-scheme:light dark;--bg:#fff;--card:#f6f7f9;--line:#d5d9df;--fg:#16191d;--dim:#57606b;--accent:#0b5cad;
--odd-bg:#fff0d6;--odd-fg:#6b3d00;--hidden:#ffd9ec;--replaced:#ffe3c2;--kept:#d3f0dc;--bad:#b3261e;--good:#156c2f}
@media(prefers-color-scheme:dark){:root{--bg:#111418;--card:#1b2027;--line:#3a424d;--fg:#e8eaed;--dim:#a4adb8;
--accent:#78b7ff;--odd-bg:#4a3000;--odd-fg:#ffdd9e;--hidden:#6b1f49;--replaced:#6a3d0a;--kept:#1d4f30;--bad:#ff8a80;--good:#7ddb95}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:1280px;padding:16px 20px 64px;background:var(--bg);color:var(--fg);
font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans",sans-serif;overflow-wrap:anywhere}
h1{font-size:1.7rem;line-height:1.2;margin:.4em 0 .1em}h2{font-size:1.2rem;margin:2em 0 .6em;
border-bottom:1px solid var(--line);padding-bottom:.25em}
p{margin:.4em 0}a{color:var(--accent)}.dim{color:var(--dim)}
nav{display:flex;flex-wrap:wrap;gap:4px 16px;margin:.8em 0}
code,pre{font:.88em/1.45 ui-monospace,"SF Mono",Menlo,Consolas,"DejaVu Sans Mono",monospace}
pre{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:10px 12px;overflow-x:auto}
.facts{display:grid;grid-template-columns:repeat(auto-fit,minmax(130px,1fr));gap:10px;margin:1em 0}
.fact{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:8px 12px}
.fact b{display:block;font-size:1.35rem;line-height:1.3}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,340px),1fr));gap:20px;align-items:start}
table{border-collapse:collapse;width:100%}caption{text-align:left;font-weight:600;padding:.2em 0 .4em}
th,td{text-align:left;vertical-align:top;padding:3px 10px 3px 0;font-weight:400}
.scroll{overflow-x:auto}.scroll td,.scroll thead th{border-bottom:1px solid var(--line);padding:5px 12px 5px 0}
.scroll thead th{font-weight:600;white-space:nowrap}.scroll{margin-top:1em}
.bars th{width:36%}.bars .number{white-space:nowrap;text-align:right;padding-right:0;width:7.5em}
.bars td.bar{vertical-align:middle}svg rect,svg polygon{fill:var(--accent)}svg{display:block}
figure{margin:0}figcaption{font-size:.85rem;color:var(--dim)}.chart figcaption{font-weight:600;color:var(--fg);
font-size:1rem;padding-bottom:.4em}
.histogram{width:100%;height:110px;border-bottom:1px solid var(--line)}
.scale{display:flex;justify-content:space-between;font-size:.85rem;color:var(--dim)}
.sheet{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,var(--card-width,280px)),1fr));gap:14px}
.sheet.wide{--card-width:520px}.sheet.pair{--card-width:340px}
.pair .media>figure{flex:1 1 0;min-width:0}
article{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:12px;min-width:0}
article.odd{border-color:var(--odd-fg)}
article h3{font-size:1rem;margin:0 0 6px;display:flex;flex-wrap:wrap;gap:4px 8px;align-items:baseline}
.badge{background:var(--odd-bg);color:var(--odd-fg);border-radius:6px;padding:1px 7px;font-size:.82rem;font-weight:400}
.media{display:flex;flex-wrap:wrap;gap:8px;align-items:flex-start;margin:6px 0}
.media img{display:block;max-width:100%;border-radius:3px}
.media>figure>img{max-height:224px}
.strip img{height:84px;width:auto}.sound{flex:1 1 100%;min-width:0}.sound audio{width:100%;height:36px;margin-top:4px}
.sound img{width:100%;height:100px;object-fit:fill;margin-top:3px}
.wave{width:100%;height:54px;background:var(--bg);border-radius:3px}
.tiles{display:grid;grid-template-columns:repeat(var(--side,3),auto);gap:4px;width:max-content;max-width:100%}
.tiles.side2{--side:2}.tiles.side4{--side:4}.tiles.side5{--side:5}.tiles img{width:62px}
.tiles figcaption{text-align:center;line-height:1.3}
.text{white-space:pre-wrap;background:var(--bg);border-radius:6px;padding:8px 10px;max-height:22em;overflow:auto}
mark{color:var(--fg);background:var(--hidden);border-radius:3px;padding:0 2px}
mark.hidden{text-decoration:line-through;text-decoration-thickness:1px}mark.replaced{background:var(--replaced)}
mark.kept{background:var(--kept)}
.verdict,.nowrap{white-space:nowrap}.verdict{font-weight:600}.verdict.fail,.verdict.leaky,.verdict.void{color:var(--bad)}
.verdict.pass,.verdict.meaningful{color:var(--good)}.forest{width:180px;height:16px}
.forest .zone{fill:var(--kept)}.forest line{stroke:var(--fg);stroke-width:2}
.forest .axis{stroke:var(--line);stroke-width:1}
.forest circle{fill:var(--accent)}
details{margin-top:6px;font-size:.88rem}summary{cursor:pointer;color:var(--accent)}
dl{display:grid;grid-template-columns:minmax(7em,max-content) 1fr;gap:2px 12px;margin:.4em 0}
dt{color:var(--dim)}dd{margin:0;min-width:0}
:focus-visible{outline:2px solid var(--accent);outline-offset:2px}
@media(max-width:520px){body{padding:10px 12px 48px}dl{grid-template-columns:1fr}dd{margin-bottom:4px}}
@media print{body{max-width:none}.text{max-height:none}article{break-inside:avoid}}
""".strip()


def document(title: str, body: Html) -> str:
    """Return the document; its policy allows what is in the file and nothing else: no script, no request."""
    digest = base64.b64encode(hashlib.sha256(CSS.encode()).digest()).decode("ascii")
    policy = (
        f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; media-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="referrer", content="no-referrer"),
        tag("title", title),
        tag("style", Html(CSS)),
    )
    return "<!doctype html>\n" + tag("html", head, tag("body", tag("main", body)), lang="en")
