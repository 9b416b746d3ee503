"""The words of statements in Chinese and English. A test holds that every layout has them."""

from __future__ import annotations

from enum import StrEnum

from xingyue.errors import InvalidRequest


class Language(StrEnum):
    ZH = "zh"
    EN = "en"

    @classmethod
    def parse(cls, text: str) -> Language:
        try:
            return cls(text)
        except ValueError as error:
            raise InvalidRequest(f"lang is zh or en; got {text!r}", param="lang") from error


def word(key: str, language: Language) -> str:
    """KeyError for one that has no words."""
    chinese, english = WORDS[key]
    return chinese if language is Language.ZH else english


def title(kind: str, language: Language) -> str:
    return word(f"title_{kind}", language)


WORDS: dict[str, tuple[str, str]] = {
    "title_statement": ("月度对账单", "Monthly statement"),
    "title_earnings": ("模型厂商月度收益单", "Monthly earnings of a model vendor"),
    "title_revenue": ("年度服务收入报告", "Yearly report of service revenue"),
    "title_evidence": ("算力券核销材料", "Evidence of the use of compute vouchers"),
    "platform": ("星月行业模型服务平台", "Xingyue, models as a service for industry"),
    "digest": ("JSON 摘要", "Digest of the JSON form"),
    "page": ("第 {page} 页 / 共 {pages} 页", "Page {page} of {pages}"),
    "total": ("合计", "Total"),
    "nothing": ("本期无记录", "Nothing in this period"),
    "cut": (
        "仅列出前 {shown} 行，共 {all} 行；全部内容见 CSV 或 JSON。",
        "The first {shown} of {all} lines; the CSV and the JSON hold all.",
    ),
    "note_booked": (
        "用量按入账时间计入本期，与金额逐微元一致；冲正计为负数，计入冲正当期。",
        "Usage counts in the period in which it was booked, so that it agrees with the money to "
        "the micro; a reversal counts negative, in its own period.",
    ),
    "note_utc": (
        "时间均为协调世界时（UTC）；CSV 与 JSON 中的金额以百万分之一元（微元）为单位。",
        "All times are UTC; amounts in CSV and JSON are in millionths of a CNY (micros).",
    ),
    "note_revenue": (
        "服务收入为租户与算力券实际支付的调用费用减去冲正；充值不计为收入。",
        "Service revenue is what tenants and vouchers paid for use, less reversals; top-ups are no "
        "revenue.",
    ),
    "note_evidence": (
        "逐笔支付记录见 payments.csv，每一笔均可在平台总账中核对。",
        "Every single payment is in payments.csv and can be checked against the platform's ledger.",
    ),
    "tenant_id": ("租户编号", "Tenant"),
    "tenant_name": ("租户名称", "Name"),
    "tenant_kind": ("租户类型", "Kind of tenant"),
    "month": ("月份", "Month"),
    "year": ("年度", "Year"),
    "period": ("期间", "Period"),
    "start": ("起（含）", "From (inclusive)"),
    "end": ("止（不含）", "To (exclusive)"),
    "currency": ("币种", "Currency"),
    "events": ("用量事件数", "Usage events"),
    "calls": ("调用次数", "Calls"),
    "units": ("用量", "Units"),
    "unit": ("计量单位", "Unit"),
    "average_price": ("均价（微元）", "Average price (micros)"),
    "cost_micros": ("费用", "Cost"),
    "amount_micros": ("金额", "Amount"),
    "opening_micros": ("期初余额", "Opening"),
    "closing_micros": ("期末余额", "Closing"),
    "top_ups_micros": ("本期充值", "Top-ups"),
    "charges_micros": ("现金扣费", "Charged to cash"),
    "reversals_micros": ("冲正退回", "Reversals"),
    "other_micros": ("其他变动", "Other"),
    "earned_micros": ("收益", "Earned"),
    "sales_micros": ("销售额", "Sales"),
    "in_micros": ("转入", "In"),
    "out_micros": ("转出", "Out"),
    "paid_micros": ("券付金额", "Paid by voucher"),
    "returned_micros": ("到期或撤销退回", "Returned"),
    "service_micros": ("年度服务收入", "Service revenue of the year"),
    "cash_paid_micros": ("现金支付", "Paid in cash"),
    "voucher_paid_micros": ("算力券支付", "Paid by vouchers"),
    "voucher_share_percent": ("券付占比（%）", "By vouchers (%)"),
    "vouchers_count": ("算力券数", "Vouchers"),
    "contracts_count": ("合同数", "Contracts"),
    "tenants_count": ("企业数", "Tenants"),
    "day": ("日期", "Day"),
    "model": ("模型", "Model"),
    "version": ("版本", "Version"),
    "industry": ("行业", "Industry"),
    "account": ("账户", "Account"),
    "payment": ("支付方式", "Payment"),
    "source": ("来源", "Source"),
    "reference": ("凭证号", "Reference"),
    "created_at": ("时间", "Time"),
    "transfer_id": ("分录号", "Transfer"),
    "kind": ("类别", "Kind"),
    "event_id": ("事件编号", "Event"),
    "request_id": ("请求编号", "Request"),
    "voucher_id": ("券内部编号", "Voucher id"),
    "payee": ("收款账户", "Paid to"),
    "code": ("券号", "Voucher"),
    "contract": ("合同编号", "Contract"),
    "state": ("状态", "State"),
    "days": ("每日用量", "Usage by day"),
    "lines": ("按模型汇总", "By model"),
    "payments": ("支付构成", "Payments by account"),
    "top_ups": ("充值明细", "Top-ups"),
    "accounts": ("账户变动", "Accounts"),
    "variants": ("按变体汇总", "By variant"),
    "months": ("本年各月收益", "Earnings by month of the year"),
    "by_model": ("按模型", "By model"),
    "by_month": ("按月", "By month"),
    "by_industry": ("按行业", "By industry"),
    "by_tenant_kind": ("按租户类型", "By kind of tenant"),
    "by_tenant": ("按租户", "By tenant"),
    "by_account": ("按收入账户", "By earning account"),
    "by_payment": ("按支付方式", "By payment"),
    "funding": ("资金来源", "Money received, by source"),
    "vouchers": ("算力券", "Vouchers"),
    "contracts": ("合同", "Contracts"),
    "usage": ("券付用量", "Use paid by vouchers"),
}

VALUES: dict[str, str] = {
    "cash": "现金",
    "voucher": "算力券",
    "tenant": "现金",
    "payment": "付款",
    "promotion": "优惠",
    "vendor": "模型厂商",
    "manufacturer": "制造企业",
    "image": "张",
    "token": "词元",
    "page": "页",
    "compute-second": "计算秒",
    "series-point": "序列点",
    "month": "月",
    "issued": "已发放",
    "assigned": "已分配",
    "expired": "已到期",
    "revoked": "已撤销",
    "home-appliances": "家电",
    "lighting": "照明",
    "pharma": "医药",
    "platform:revenue": "平台收入",
    "(fees)": "（套餐月费）",
    "CNY": "人民币（CNY）",
}
"""Values that a person reads, in Chinese; any other stands as it is."""

_VALUE_FIELDS = frozenset(
    {"account", "payment", "source", "tenant_kind", "unit", "state", "industry", "currency"}
)


def value(field: str, text: str, language: Language) -> str:
    """A value of a field as a person of that language reads it. Names and ids are left alone."""
    if language is Language.EN or (field not in _VALUE_FIELDS and text != "(fees)"):
        return text
    return VALUES.get(text, text)
