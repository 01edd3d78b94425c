"""Words that tell something of a prompt's difficulty, by the feature they count for. English and Chinese."""

_ENGLISH = {
    "task": """
        build convert create describe difference draft example examples explain generate guide how outline plan rewrite
        set-up setup summarise summarize tutorial write""",
    "reasoning": """
        analyse analysis analyze architecture assess compare contradiction contrast critique debug deduce derivation
        derive design diagnose evaluate hypothesis implement induction infer investigate justify lemma optimal optimise
        optimize proof proofs prove reasoning recommend refactor review rigorous rigorously step-by-step steps strategy synthesize
        theorem trade-offs tradeoffs why""",
    "maths": """
        average calculate complexity compute convergence converges derivative determine eigenvalue equation equations
        frac integer integers integral limit matrix maximum minimum modulo percent polynomial prime primes probability
        radius ratio solve sqrt sum triangle vector velocity""",
    "code": """
        algorithm api array assert async await bug class code compile const css database def docker endpoint exception
        function golang html import int java javascript json kubernetes loop null parser postgres print println public
        python react regex return rust script sql stacktrace string struct thread typescript void""",
    "constraints": """
        assume between both cannot each ensure every except exactly following given if include including least most
        must never not only other requirement requirements respectively should than then unless without""",
}

_CHINESE = {
    "task": "如何 怎么 怎样 写一 撰写 解释 总结 生成 介绍 举例 区别",
    "reasoning": "证明 推导 分析 比较 评估 设计 优化 实现 为什么 步骤 论证 调试 推理 策略",
    "maths": "积分 方程 概率 矩阵 计算 求解 定理 质数 导数 平均 最大 最小",
    "code": "代码 函数 编程 程序 数据库 接口 算法 脚本",
    "constraints": "必须 不能 至少 最多 只能 不要 要求 每个 如果 以下 不超过",
    "lookup": "你好 谢谢 哪里 是谁 是什么 什么时候 翻译",
}

WORDS: dict[bytes, str] = {
    word.encode(): feature for feature, words in _ENGLISH.items() for word in words.split()
}
"""A lower-case word to the feature that it counts for."""

OPENINGS = frozenset(
    b"brief briefly capital define definition hello hey hi meaning name synonym thank thanks translate what when "
    b"where which who".split()
)
"""Words with which greetings and look-ups begin: there they count for `lookup`, further on they mean nothing."""

TERMS: dict[str, str] = {term: feature for feature, terms in _CHINESE.items() for term in terms.split()}
"""The same for Chinese, which is written without spaces: these are looked for anywhere."""
