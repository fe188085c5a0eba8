"""Emoji as words: encoders for Chinese know hardly any of them, and customers put half of what they mean into them."""

from __future__ import annotations

from collections.abc import Mapping

# Named as in WeChat and Weibo, where people write `[大哭]`; by what is meant in Chinese use (🙂 is rarely friendly).
_NAMES = {
    "开心": "😀😃😄😁😆😊😇😸😺🤗",
    "微笑": "🙂",
    "喜欢": "😍🥰😘😗😚😙😻🤩💕💖💗💓💞💘💝🧡💛💚💙💜🤍🫶",
    "赞": "👍💯🏆🥇🎖💪🌟",
    "鼓掌": "👏🙌",
    "好的": "👌🆗🤝🫡",
    "合十": "🙏",
    "庆祝": "🎉🎊🥳",
    "玫瑰": "🌹🌷🌸💐🌺",
    "好吃": "😋🤤",
    "得意": "😎😏🤭😜😝😛🤪",
    "笑哭": "😂🤣",
    "感动": "🥹",
    "可怜": "🥺",
    "大哭": "😭",
    "流泪": "😢🥲😿",
    "难过": "😞😔😟🙁😣😖😩😫😥😓😪",
    "心碎": "💔",
    "生气": "😡😠🤬😤👿💢😾😈",
    "恶心": "🤮🤢",
    "差评": "👎",
    "垃圾": "💩🚮",
    "鄙视": "🖕😒",
    "白眼": "🙄",
    "无语": "😑😐😶🫥🫠🙃",
    "尴尬": "😅😬",
    "疑惑": "😕🤨🧐",
    "捂脸": "🤦",
    "摊手": "🤷",
    "小丑": "🤡",
    "惊讶": "😱😮😲😳🤯😯🫢",
    "害怕": "😨😰😧😦",
    "思考": "🤔",
    "困": "😴🥱",
    "再见": "👋",
    "骷髅": "💀",
    "生病": "🤒😷🤕🤧😵🥴",
}
WORDS: Mapping[str, str] = {emoji: f"[{name}]" for name, all_of_it in _NAMES.items() for emoji in all_of_it}
"""The word, in brackets, for each emoji (one character)."""
