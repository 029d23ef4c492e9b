"""Style sheet and script of pages that stand alone: light and dark, nothing from a network."""

from __future__ import annotations

STYLE = """
:root{color-scheme:light dark;--paper:#fff;--ink:#1d2329;--soft:#5a6672;--rule:#dfe4e8;
--card:#f6f8f9;--a0:#1f5fa8;--a1:#c2571a;--a2:#2d7a4b;--a3:#8247a8;--a4:#b02a5b;--a5:#56646d;
--a6:#8a6a00;--a7:#007a88;--good:#1c6b3c;--bad:#a12622}
@media (prefers-color-scheme:dark){:root{--paper:#14181c;--ink:#e6eaed;--soft:#9aa7b2;
--rule:#2c343b;--card:#1c2228;--a0:#79b1ee;--a1:#f0a06a;--a2:#78c796;--a3:#c79be4;--a4:#ee86aa;
--a5:#a9b7bf;--a6:#dcc05c;--a7:#5ac7d3;--good:#78c796;--bad:#f28b82}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);
font:15px/1.55 system-ui,-apple-system,"Segoe UI",sans-serif}
main{max-width:1040px;margin:0 auto;padding:28px 20px 80px}
h1{font-size:26px;line-height:1.25;margin:0 0 6px}
h2{font-size:19px;margin:44px 0 4px}
h3{font-size:15px;margin:22px 0 2px}
p{margin:6px 0 12px;max-width:76ch}
.soft,.how{color:var(--soft)}
.how{font-size:14px}
.cards{display:grid;gap:12px;grid-template-columns:repeat(auto-fill,minmax(300px,1fr));
margin:14px 0}
.card{background:var(--card);border:1px solid var(--rule);border-left:5px solid var(--soft);
border-radius:6px;padding:12px 14px}
.card.better{border-left-color:var(--good)}
.card.worse{border-left-color:var(--bad)}
.card b{font-size:16px}
.card .verdict{font-weight:600}
.better .verdict{color:var(--good)}
.worse .verdict{color:var(--bad)}
.card p{margin:4px 0 0;font-size:14px}
svg{display:block;width:100%;height:auto;margin:8px 0}
svg text{fill:var(--ink);font-size:12px}
svg .tick,svg .label{fill:var(--soft)}
svg .group{font-weight:600}
svg .grid{stroke:var(--rule)}
svg .zero{stroke:var(--soft);stroke-dasharray:4 3}
svg .line{fill:none;stroke-width:2.2}
svg .bar{stroke-width:4;stroke-linecap:round;opacity:.6}
svg .band{opacity:.16;stroke:none}
.legend{display:flex;flex-wrap:wrap;gap:4px 18px;margin:8px 0 0;padding:0;list-style:none}
.legend span{display:inline-block;width:22px;height:4px;border-radius:2px;margin-right:7px;
vertical-align:middle}
.choice{display:flex;flex-wrap:wrap;gap:6px;margin:8px 0 0}
.choice button{font:inherit;font-size:13px;color:var(--ink);background:var(--card);cursor:pointer;
border:1px solid var(--rule);border-radius:14px;padding:2px 11px}
.choice button[aria-pressed=true]{border-color:var(--a0);color:var(--a0)}
.scroll{overflow-x:auto}
table{border-collapse:collapse;font-size:14px;margin:10px 0}
th,td{padding:5px 12px 5px 0;text-align:left;border-bottom:1px solid var(--rule);
vertical-align:top}
th{color:var(--soft);font-weight:600}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
.texts{display:grid;gap:10px;grid-template-columns:repeat(auto-fit,minmax(240px,1fr));
margin:8px 0 18px}
.text{background:var(--card);border:1px solid var(--rule);border-top-width:3px;border-radius:6px;
padding:8px 12px;min-width:0}
.text header{font-size:13px;color:var(--soft);display:flex;justify-content:space-between}
pre{white-space:pre-wrap;overflow-wrap:anywhere;margin:4px 0 0;
font:13.5px/1.5 ui-monospace,SFMono-Regular,Menlo,monospace}
code{font:13px ui-monospace,SFMono-Regular,Menlo,monospace;overflow-wrap:anywhere}
details{margin:8px 0}
summary{cursor:pointer}
[hidden]{display:none!important}
@media print{.choice{display:none}details[open]{break-inside:avoid}}
"""
COLOURS = "".join(
    f".line.a{k},.bar.a{k}{{stroke:var(--a{k})}}.dot.a{k},.band.a{k}{{fill:var(--a{k})}}"
    f"span.a{k}{{background:var(--a{k})}}.text.a{k}{{border-top-color:var(--a{k})}}"
    for k in range(8)
)
SCRIPT = """
document.querySelectorAll('.choice').forEach(function(bar){
  var buttons=bar.querySelectorAll('button');
  buttons.forEach(function(button){button.addEventListener('click',function(){
    buttons.forEach(function(other){
      var on=other===button;
      other.setAttribute('aria-pressed',on);
      document.getElementById(other.dataset.shows).hidden=!on;
    });
  });});
});
"""
