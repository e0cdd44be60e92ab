"""Replies as real servers write them, and what each must mean: every row of the reply rules has at least one.

Used by test_classify.py. `\\n` separates the lines of a multiline reply; addresses and hosts are invented.
"""

from __future__ import annotations

from typing import NamedTuple

from mailspool_worker.classify import Action, Context, Loss, Reason, Stage
from mailspool_worker.smtp.replies import Reply, ReplyParser


class Sample(NamedTuple):
    row: str
    stage: Stage
    said: str
    action: Action
    reason: Reason
    context: Context = Context()


class LossSample(NamedTuple):
    row: str
    stage: Stage
    loss: Loss
    action: Action
    reason: Reason
    context: Context = Context()


def reply_of(said: str) -> Reply:
    """Through the real parser, as it would come off the wire."""
    (reply,) = ReplyParser().feed(said.replace("\n", "\r\n").encode() + b"\r\n")
    return reply


BANNER, EHLO, STARTTLS, AUTH = Stage.BANNER, Stage.EHLO, Stage.STARTTLS, Stage.AUTH
MAIL, RCPT, DATA, BODY, DOT, QUIT = Stage.MAIL, Stage.RCPT, Stage.DATA, Stage.BODY, Stage.DOT, Stage.QUIT
DIRECT = Context(mode="direct")
LAST_HOST = Context(mode="direct", more_hosts=False)
MANY = Context(many_rcpt=True)
REFUSED = Context(after_refusal=True)

REPLIES = (
    # connection
    Sample("banner 4xx", BANNER, "450 4.3.2 Please try again later", "next-host", "connect"),
    Sample("banner 421", BANNER, "421 4.7.0 mx.example.org Error: too many connections", "next-host", "connect"),
    Sample("EHLO 421", EHLO, "421 4.3.2 Service not available", "next-host", "connect"),
    Sample("direct, no host left", BANNER, "421 4.3.2 Service not available", "later", "connect", LAST_HOST),
    Sample("banner 554", BANNER, "554 5.7.1 Bad DNS PTR resource record.", "blocked", "blocked"),
    Sample("banner 554 at connect", Stage.CONNECT, "554 No SMTP service here", "blocked", "blocked"),
    Sample("banner 521, relay", BANNER, "521 5.3.2 mx.example.org does not accept mail", "blocked", "blocked"),
    Sample("banner 521", BANNER, "521 does not accept mail", "next-host", "connect", DIRECT),
    Sample("banner 521, last", BANNER, "521 does not accept mail", "later", "refused", LAST_HOST),
    Sample("521 of all", BANNER, "521 Server does not accept mail",
           "fail", "refused", Context(mode="direct", every_host=True)),
    Sample("EHLO 5xx", EHLO, "502 5.5.2 Error: command not recognized", "helo", "protocol"),
    Sample("HELO 5xx", EHLO, "550 Access denied - Invalid HELO name", "blocked", "blocked", Context(helo_tried=True)),
    Sample("421 at MAIL", MAIL, "421 4.4.2 mx.example.org Error: timeout exceeded", "slow", "rate"),
    Sample("421 at MAIL of a used session", MAIL, "421 4.7.0 Too many messages in this session", "reconnect", "",
           Context(reused=True)),
    Sample("421 about the rate, used session", MAIL, "421 4.7.0 Our rate limit is reached", "slow", "rate",
           Context(reused=True)),
    Sample("421 at RCPT", RCPT, "421 4.3.0 Temporary System Problem. Closing connection", "slow", "rate"),
    Sample("421 at dot", DOT, "421 4.3.2 The system is shutting down", "slow", "rate"),
    Sample("421 in the body", BODY, "421 4.4.2 Timeout while waiting for data", "slow", "rate"),
    Sample("STARTTLS 454", STARTTLS, "454 4.7.0 TLS not available due to local problem", "next-host", "tls"),
    Sample("STARTTLS 454, direct", STARTTLS, "454 4.7.0 TLS not available due to local problem",
           "later", "tls", DIRECT),
    Sample("STARTTLS refused", STARTTLS, "502 5.5.1 STARTTLS not supported",
           "clear", "tls", Context(tls="opportunistic")),
    Sample("never with credentials", STARTTLS, "454 TLS not available", "next-host", "tls",
           Context(tls="opportunistic", credentials=True)),
    Sample("STARTTLS 421", STARTTLS, "421 4.7.0 Try later", "next-host", "connect"),
    Sample("AUTH 535", AUTH, "535 5.7.8 Error: authentication failed: UGFzc3dvcmQ6", "pause-route", "auth"),
    Sample("AUTH 535 Gmail", AUTH, "535-5.7.8 Username and Password not accepted. For more information, go to\n"
           "535 5.7.8  https://support.google.com/mail/?p=BadCredentials", "pause-route", "auth"),
    Sample("AUTH 535 Microsoft", AUTH, "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is "
           "disabled for the "
           "Tenant. [AM0PR01CA0101.eurprd01.prod.exchangelabs.com]", "pause-route", "auth"),
    Sample("AUTH 534", AUTH, "534-5.7.9 Application-specific password required. For more information, go to\n"
           "534 5.7.9  https://support.google.com/mail/?p=InvalidSecondFactor", "pause-route", "auth"),
    Sample("AUTH 538", AUTH, "538 5.7.11 Encryption required for requested authentication mechanism",
           "pause-route", "auth"),
    Sample("AUTH 432", AUTH, "432 4.7.12 A password transition is needed", "pause-route", "auth"),
    Sample("AUTH 504", AUTH, "504 5.7.4 Unrecognized authentication type", "pause-route", "auth"),
    Sample("530", MAIL, "530 5.7.0 Authentication Required. For more information, go to https://support.google.com",
           "pause-route", "auth"),
    Sample("530 STARTTLS", MAIL, "530 5.7.0 Must issue a STARTTLS command first", "pause-route", "tls"),
    Sample("530 Exchange", RCPT, "530 5.7.1 Client was not authenticated", "pause-route", "auth"),
    Sample("5.7.57", MAIL, "530 5.7.57 Client not authenticated to send mail. [AM5P189CA0019.EURP189.PROD.OUTLOOK.COM]",
           "pause-route", "auth"),
    Sample("5.7.57 at dot", DOT, "550 5.7.57 SMTP; Client was not authenticated to send anonymous mail during MAIL "
           "FROM",
           "pause-route", "auth"),
    Sample("authentication required", RCPT, "550 5.7.1 Authentication required", "pause-route", "auth"),
    Sample("503 AUTH first", MAIL, "503 5.5.4 Error: send AUTH first", "pause-route", "auth"),
    Sample("an Exchange group's own wish", DOT, "550 5.7.133 RESOLVER.RST.SenderNotAuthenticatedForGroup; "
           "authentication required; "
           "Delivery restriction check failed because the sender was not authenticated when sending to this group",
           "fail", "policy"),
    Sample("too many logins", AUTH, "454 4.7.0 Too many login attempts, please try again later.",
           "pause-route", "auth"),
    Sample("login away", AUTH, "454 4.7.0 Temporary authentication failure: Connection lost", "pause-route", "auth"),
    # rate and quota
    Sample("SES rate", DOT, "454 Throttling failure: Maximum sending rate exceeded.", "slow", "rate"),
    Sample("432 threads", DOT, "432 4.3.2 STOREDRV.ClientSubmit; sender thread limit exceeded", "slow", "rate"),
    Sample("432 connections", AUTH, "432 4.3.2 Concurrent connections limit exceeded. Visit "
           "https://aka.ms/concurrent_sending", "slow", "rate"),
    Sample("432 bare", MAIL, "432 Concurrent connections limit exceeded", "slow", "rate"),
    Sample("4.7.28", DOT, "421-4.7.28 Gmail has detected an unusual rate of unsolicited mail originating\n"
           "421-4.7.28 from your IP address [192.0.2.1]. To protect our users from spam,\n"
           "421 4.7.28 mail sent from your IP address has been temporarily rate limited.", "slow", "rate"),
    Sample("route too quickly", RCPT, "450 4.2.1 You are sending messages too quickly. Please slow down.",
           "slow", "rate"),
    Sample("SES quota", DOT, "454 Throttling failure: Daily message quota exceeded.", "pause-route", "quota"),
    Sample("Gmail quota", DOT, "550-5.4.5 Daily user sending limit exceeded. For more information on Gmail\n"
           "550 5.4.5 sending limits go to https://support.google.com/a/answer/166852", "pause-route", "quota"),
    Sample("5.4.5 by code", RCPT, "550 5.4.5 Limit reached", "pause-route", "quota"),
    Sample("5.1.90", DOT, "550 5.1.90 Your message can't be sent because you've reached your daily limit for message "
           "recipients",
           "pause-route", "quota"),
    Sample("5.7.233", DOT, "550 5.7.233 Your message can't be sent because your tenant exceeded its daily limit",
           "pause-route", "quota"),
    Sample("5.7.705", DOT, "550 5.7.705 Access denied, tenant has exceeded threshold.", "pause-route", "quota"),
    Sample("SubmissionQuota", DOT, "554 5.2.0 STOREDRV.Submission.Exception:SubmissionQuotaExceededException; Failed "
           "to process "
           "message due to a permanent exception with message", "pause-route", "quota"),
    Sample("RecipientRateLimit", DOT, "550 5.1.0 RecipientRateLimitExceeded; sender's recipient limit",
           "pause-route", "quota"),
    Sample("credits", AUTH, "451 Authentication failed: Maximum credits exceeded", "pause-route", "quota"),
    Sample("163 MI:STC", DOT, "554 MI:STC 163 smtp12,D8CowECpZ0fGhVtZ 1498981831 http://mail.163.com/help",
           "pause-route", "quota"),
    Sample("452 4.3.1", RCPT, "452 4.3.1 Insufficient system storage", "later", "receiver_busy"),
    Sample("451 4.3.0", DOT, "451 4.3.0 Error: queue file write error", "later", "receiver_busy"),
    Sample("451 4.3.5 at MAIL", MAIL, "451 4.3.5 Server configuration problem", "later", "receiver_busy"),
    # sender
    Sample("MAIL 4xx", MAIL, "451 Could not complete sender verify callout", "later", "temporary"),
    Sample("MAIL 4xx by text", MAIL, "450 4.1.8 <a@b.example>: Sender address rejected: Domain not found",
           "later", "sender"),
    Sample("MAIL 4xx by code", RCPT, "451 4.1.8 Domain of sender address does not resolve", "later", "sender"),
    Sample("MAIL 552", MAIL, "552 Message size exceeds fixed maximum message size", "fail", "too_big"),
    Sample("MAIL 5.3.4", MAIL, "554 5.3.4 Message too big for system", "fail", "too_big"),
    Sample("MAIL 555", MAIL, "555 5.5.4 Unsupported option: SIZE=4096", "plain", "protocol"),
    Sample("MAIL 501", MAIL, "501 5.5.4 Invalid arguments", "plain", "protocol"),
    Sample("MAIL 555 again", MAIL, "555 5.5.4 Unsupported option", "hold-sender", "sender", Context(plain=True)),
    Sample("MAIL 5xx", MAIL, "550 5.1.1 User unknown", "hold-sender", "sender"),
    Sample("5.1.7", MAIL, "501 5.1.7 Invalid address", "hold-sender", "sender"),
    Sample("5.1.8", RCPT, "553 5.1.8 Domain of sender address a@b.example does not exist", "hold-sender", "sender"),
    Sample("5.7.60", DOT, "550 5.7.60 SMTP; Client does not have permissions to send as this sender",
           "hold-sender", "sender"),
    Sample("5.2.252", DOT, "554 5.2.252 SendAsDenied; a@b.example not allowed to send as c@d.example",
           "hold-sender", "sender"),
    Sample("sender address rejected", RCPT, "550 5.1.0 <a@b.example>: Sender address rejected: User unknown in "
           "virtual mailbox table",
           "hold-sender", "sender"),
    Sample("sender not owned", RCPT, "553 5.7.1 <a@b.example>: Sender address rejected: not owned by user c@d.example",
           "hold-sender", "sender"),
    Sample("sender verify failed", RCPT, "550-Verification failed for <a@b.example>\n550-No Such User Here\n550 "
           "Sender verify failed",
           "hold-sender", "sender"),
    Sample("SES not verified", DOT, "554 Message rejected: Email address is not verified. The following identities "
           "failed the check in "
           "region EU-WEST-1: a@b.example", "hold-sender", "sender"),
    Sample("QQ authorization user", DOT, "501 mail from address must be same as authorization user",
           "hold-sender", "sender"),
    Sample("163 authorized user", MAIL, "553 Mail from must equal authorized user", "hold-sender", "sender"),
    Sample("5.7.26", DOT, "550-5.7.26 This mail has been blocked because the sender is unauthenticated.\n550-5.7.26 "
           "Gmail requires all "
           "senders to authenticate with either SPF or DKIM.\n550 5.7.26  DKIM = did not pass",
           "hold-sender", "sender_check"),
    Sample("4.7.23", DOT, "421 4.7.23 The sending IP address doesn't have a PTR record", "hold-sender", "sender_check"),
    Sample("5.7.515", DOT, "550 5.7.515 Access denied, sending domain b.example doesn't meet the required "
           "authentication level.",
           "hold-sender", "sender_check"),
    Sample("5.7.23", RCPT, "550 5.7.23 SPF validation failed", "hold-sender", "sender_check"),
    Sample("DMARC by text", DOT, "550 5.7.1 rejected by DMARC policy for b.example", "hold-sender", "sender_check"),
    Sample("relay, Postfix", RCPT, "554 5.7.1 <c@d.example>: Relay access denied", "pause-route", "relay_denied"),
    Sample("relay, Postfix for now", RCPT, "454 4.7.1 <c@d.example>: Relay access denied",
           "pause-route", "relay_denied"),
    Sample("relay, Exim", RCPT, "550 relay not permitted", "pause-route", "relay_denied"),
    Sample("relay, Exchange", RCPT, "550 5.7.54 SMTP; Unable to relay recipient in non-accepted domain",
           "pause-route", "relay_denied"),
    Sample("5.7.54 by code", RCPT, "550 5.7.54 Not accepted", "pause-route", "relay_denied"),
    Sample("relay, direct", RCPT, "550 5.7.1 Unable to relay",
           "later", "relay_denied", Context(mode="direct", age_s=86_399.0)),
    Sample("relay, direct, a day", RCPT, "550 5.7.1 Unable to relay",
           "fail", "refused", Context(mode="direct", age_s=86_400.0)),
    Sample("relay, direct, 4xx", RCPT, "454 4.7.1 Relay access denied", "later", "relay_denied",
           Context(mode="direct", age_s=1e6)),
    # site and reputation
    Sample("S3150", MAIL, "550 5.7.1 Unfortunately, messages from [192.0.2.1] weren't sent. Please contact your "
           "Internet service "
           "provider since part of their network is on our block list (S3150).", "blocked", "blocked"),
    Sample("5.7.511", RCPT, "550 5.7.511 Access denied, banned sender[192.0.2.1].", "blocked", "blocked"),
    Sample("5.7.606", RCPT, "550 5.7.606 Access denied, banned sending IP [192.0.2.1].", "blocked", "blocked"),
    Sample("5.7.708", DOT, "550 5.7.708 Access denied, traffic not accepted from this IP", "blocked", "blocked"),
    Sample("client host blocked", RCPT, "554 5.7.1 Service unavailable; Client host [192.0.2.1] blocked using "
           "zen.spamhaus.org; "
           "https://www.spamhaus.org/query/ip/192.0.2.1", "blocked", "blocked"),
    Sample("client host rejected", RCPT, "554 5.7.1 <unknown[192.0.2.1]>: Client host rejected: Access denied",
           "blocked", "blocked"),
    Sample("BL21", MAIL, "553 5.7.1 [BL21] Connections will not be accepted from 192.0.2.1", "blocked", "blocked"),
    Sample("Proofpoint", RCPT, "550 5.7.0 Blocked - see https://ipcheck.proofpoint.com/?ip=192.0.2.1",
           "blocked", "blocked"),
    Sample("poor reputation", BANNER, "554 Your access to this mail system has been rejected due to the sending "
           "MTA's poor reputation.",
           "blocked", "blocked"),
    Sample("TSS04", MAIL, "421 4.7.0 [TSS04] Messages from 192.0.2.1 temporarily deferred due to unexpected volume "
           "or user complaints",
           "blocked", "blocked"),
    Sample("TS03", DOT, "421 4.7.1 [TS03] All messages from 192.0.2.1 will be permanently deferred",
           "blocked", "blocked"),
    Sample("4.7.650", MAIL, "451 4.7.650 The mail server [192.0.2.1] has been temporarily rate limited due to IP "
           "reputation.",
           "blocked", "blocked"),
    Sample("QQ", DOT, "550 Ip frequency limited. http://service.mail.qq.com/cgi-bin/help?id=20022",
           "blocked", "blocked"),
    Sample("5.7.1", DOT, "550 5.7.1 [192.0.2.1 18] Gmail has detected that this message is likely unsolicited mail.",
           "fail", "policy"),
    Sample("Yahoo 5.7.9", DOT, "554 5.7.9 Message not accepted for policy reasons. See "
           "https://postmaster.yahooinc.com/error-codes",
           "fail", "policy"),
    Sample("bare spam", DOT, "554 Message rejected: spam content", "fail", "policy"),
    Sample("bare blocked", RCPT, "550 permanent failure for one or more recipients (c@d.example:blocked)",
           "fail", "policy"),
    # recipient
    Sample("RCPT 250", RCPT, "250 2.1.5 Ok", "ok", ""),
    Sample("RCPT 251", RCPT, "251 User not local; will forward to <e@f.example>", "ok", ""),
    Sample("RCPT 252", RCPT, "252 2.1.5 Cannot VRFY user, but will accept message", "ok", ""),
    Sample("Postgrey", RCPT, "450 4.2.0 <c@d.example>: Recipient address rejected: Greylisted, see "
           "http://postgrey.schweikert.ch/help/d.example.html", "later", "greylisted"),
    Sample("4.2.0 by code", RCPT, "450 4.2.0 Not now", "later", "greylisted"),
    Sample("451 4.7.1", RCPT, "451 4.7.1 Service unavailable - try again later", "later", "greylisted"),
    Sample("milter-greylist", RCPT, "451 4.7.1 Greylisting in action, please come back in 00:04:30",
           "later", "greylisted"),
    Sample("mailbox at a rate", RCPT, "450-4.2.1 The user you are trying to contact is receiving mail at a rate that\n"
           "450 4.2.1 prevents additional messages from being delivered.", "later", "rate"),
    Sample("550 5.2.1 too quickly", RCPT, "550 5.2.1 The user you are trying to contact is receiving mail too quickly",
           "later", "rate"),
    Sample("452 4.2.2", RCPT, "452-4.2.2 The recipient's inbox is out of storage space. Please direct the\n452 4.2.2 "
           "recipient to "
           "https://support.google.com/mail/?p=OverQuotaTemp", "later", "mailbox_full"),
    Sample("452 mailbox full", RCPT, "452 Mailbox full", "later", "mailbox_full"),
    Sample("452 4.5.3, many", RCPT, "452 4.5.3 Error: too many recipients", "split", "too_many_recipients", MANY),
    Sample("452 4.5.3, one", RCPT, "452 4.5.3 Error: too many recipients", "later", "too_many_recipients"),
    Sample("5.5.3", DOT, "550 5.5.3 Too many recipients for this sender", "split", "too_many_recipients", MANY),
    Sample("too many by text", RCPT, "452 too many recipients", "split", "too_many_recipients", MANY),
    Sample("552 5.2.2", RCPT, "552-5.2.2 The email account that you tried to reach is over quota and inactive.\n552 "
           "5.2.2 See help",
           "fail", "mailbox_full"),
    Sample("552 bare full", RCPT, "552 Requested mail action aborted: exceeded storage allocation",
           "fail", "mailbox_full"),
    Sample("552 5.7.0", DOT, "552-5.7.0 This message was blocked because its content presents a potential\n552 5.7.0 "
           "security issue.",
           "fail", "policy"),
    Sample("5.2.3", DOT, "550 5.2.3 RESOLVER.RST.RecipSizeLimit; message too large for this recipient",
           "fail", "too_big"),
    Sample("5.3.4", DOT, "552 5.3.4 Error: message file too big", "fail", "too_big"),
    Sample("too big, bare", DOT, "552 Message size exceeds maximum permitted", "fail", "too_big"),
    Sample("5.1.1 Postfix", RCPT, "550 5.1.1 <c@d.example>: Recipient address rejected: User unknown in local "
           "recipient table",
           "fail+suppress", "mailbox_unknown"),
    Sample("5.1.1 Gmail", RCPT, "550-5.1.1 The email account that you tried to reach does not exist. Please try\n"
           "550-5.1.1 double-checking the recipient's email address for typos or\n"
           "550 5.1.1 unnecessary spaces. https://support.google.com/mail/?p=NoSuchUser",
           "fail+suppress", "mailbox_unknown"),
    Sample("5.1.10", DOT, "550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient not found by SMTP address lookup",
           "fail+suppress", "mailbox_unknown"),
    Sample("551 5.1.6", RCPT, "551 5.1.6 Recipient no longer on server", "fail+suppress", "mailbox_unknown"),
    Sample("556", RCPT, "556 Domain does not accept mail", "fail+suppress", "mailbox_unknown"),
    Sample("5.2.1 disabled", RCPT, "550 5.2.1 The email account that you tried to reach is disabled.",
           "fail+suppress", "mailbox_disabled"),
    Sample("5.2.1 inactive", RCPT, "550-5.2.1 The email account that you tried to reach is inactive.\n550 5.2.1 See "
           "help",
           "fail+suppress", "mailbox_disabled"),
    Sample("Exim bare", RCPT, "550 No such user here", "fail+suppress", "mailbox_unknown"),
    Sample("qmail", RCPT, "550 sorry, no mailbox here by that name (#5.1.1)", "fail+suppress", "mailbox_unknown"),
    Sample("bare user unknown", RCPT, "553 User unknown", "fail+suppress", "mailbox_unknown"),
    Sample("bare does not exist", RCPT, "554 Mailbox c does not exist", "fail+suppress", "mailbox_unknown"),
    Sample("bare with a policy word", RCPT, "550 User unknown, or your message was refused by our policy",
           "fail", "policy"),
    Sample("bare with a sender word", RCPT, "550 User unknown (return-path)", "fail", "refused"),
    Sample("Outlook 5.5.0", RCPT, "550 5.5.0 Requested action not taken: mailbox unavailable (S2017062302).",
           "fail+suppress", "mailbox_unknown"),
    Sample("552 not found", RCPT, "552 1 Requested mail action aborted, mailbox not found",
           "fail+suppress", "mailbox_unknown"),
    Sample("Yahoo", DOT, "554 delivery error: dd This user doesn't have a yahoo.com account (c@yahoo.com) [0] - "
           "mta1.mail.yahoo.com",
           "fail+suppress", "mailbox_unknown"),
    Sample("not a valid recipient", RCPT, "554 c is not a valid recipient", "fail+suppress", "mailbox_unknown"),
    Sample("IronPort", RCPT, "550 #5.1.0 Address rejected.", "fail+suppress", "mailbox_unknown"),
    Sample("invalid recipient", RCPT, "550 Invalid Recipient - https://community.mimecast.com/docs/DOC-1369#550",
           "fail+suppress", "mailbox_unknown"),
    Sample("Exchange Online edge", RCPT, "550 5.4.1 Recipient address rejected: Access denied. "
           "[DB5EUR01FT012.eop-EUR01.prod]",
           "fail+suspect", "mailbox_unknown"),
    Sample("5.1.2", RCPT, "550 5.1.2 Host unknown (Name server: host not found)", "fail+suspect", "domain_unknown"),
    Sample("5.1.3", RCPT, "501 5.1.3 Bad recipient address syntax", "fail+suspect", "address_invalid"),
    Sample("5.1.0 bare", RCPT, "550 5.1.0 Not here", "fail+suspect", "mailbox_unknown"),
    Sample("5.2.1 bare", RCPT, "550 5.2.1 Not accepting messages", "fail+suspect", "mailbox_disabled"),
    Sample("Exim unrouteable", RCPT, "550 Unrouteable address", "fail+suspect", "domain_unknown"),
    Sample("other RCPT 4xx", RCPT, "450 4.1.1 <c@d.example>: Recipient address rejected: unverified address",
           "later", "temporary"),
    Sample("other RCPT 5xx", RCPT, "550 5.6.6 Content conversion failed", "fail", "refused"),
    Sample("a telling code wins", RCPT, "550 5.4.4 Mail server address does not exist", "fail", "refused"),
    # DATA, BDAT, dot
    Sample("DATA 354", DATA, "354 End data with <CR><LF>.<CR><LF>", "ok", ""),
    Sample("DATA 554 after a refusal", DATA, "554 5.5.1 Error: no valid recipients", "ignore", "", REFUSED),
    Sample("DATA 503 after a refusal", DATA, "503 5.5.1 RCPT first", "ignore", "", REFUSED),
    Sample("dot 250", DOT, "250 2.0.0 Ok: queued as 4XyZ12", "ok", ""),
    Sample("dot other 2xx", DOT, "200 accepted", "ok", ""),
    Sample("dot 4xx", DOT, "450 4.4.1 Try later", "later", "temporary"),
    Sample("dot 5xx", DOT, "554 Transaction failed", "fail", "refused"),
    Sample("dot 3xx", DOT, "354 go on", "uncertain", "lost_reply"),
    Sample("2xx in the body", BODY, "250 2.0.0 Ok", "later", "protocol"),
    Sample("2xx at DATA", DATA, "250 Ok", "later", "protocol"),
    Sample("5xx in the body", BODY, "552 5.3.4 Error: message too big", "fail", "too_big"),
    Sample("500 at MAIL", MAIL, "500 5.5.2 Error: bad syntax", "later", "protocol"),
    Sample("502 at RCPT", RCPT, "502 5.5.1 Command not implemented", "later", "protocol"),
    Sample("503 at MAIL", MAIL, "503 5.5.1 Error: nested MAIL command", "later", "protocol"),
    Sample("504 at RCPT", RCPT, "504 5.5.2 <c>: Recipient address rejected: need fully-qualified address",
           "later", "protocol"),
    Sample("503 at DATA", DATA, "503 5.5.1 Error: need RCPT command", "later", "protocol"),
    Sample("500 at BDAT", DOT, "500 5.5.1 Unrecognized command", "later", "protocol", Context(chunking=True)),
    Sample("Exim synchronization", MAIL, "554 SMTP synchronization error", "later", "protocol"),
    Sample("Postfix pipelining", RCPT, "554 5.5.0 <DATA>: Data command rejected: Improper use of SMTP command "
           "pipelining", "later", "protocol"),
    Sample("QUIT", QUIT, "221 2.0.0 Bye", "ignore", ""),
)  # fmt: skip

LOSSES = (
    LossSample("refused", Stage.CONNECT, Loss.REFUSED, "next-host", "connect"),
    LossSample("timeout", Stage.CONNECT, Loss.TIMEOUT, "next-host", "connect"),
    LossSample("reset", BANNER, Loss.RESET, "next-host", "connect"),
    LossSample("no banner", BANNER, Loss.TIMEOUT, "next-host", "connect"),
    LossSample("direct, none left", Stage.CONNECT, Loss.REFUSED, "later", "connect", LAST_HOST),
    LossSample("closed between messages", MAIL, Loss.CLOSED, "reconnect", "", Context(reused=True)),
    LossSample("closed at the first message", MAIL, Loss.CLOSED, "later", "connection_lost"),
    LossSample("closed inside a transaction", RCPT, Loss.CLOSED, "later", "connection_lost", Context(reused=True)),
    LossSample("timeout at MAIL", MAIL, Loss.TIMEOUT, "later", "connection_lost", Context(reused=True)),
    LossSample("handshake", STARTTLS, Loss.TLS, "next-host", "tls"),
    LossSample("handshake, direct", STARTTLS, Loss.TLS, "later", "tls", DIRECT),
    LossSample("handshake, opportunistic", STARTTLS, Loss.TLS, "clear", "tls", Context(tls="opportunistic")),
    LossSample("closed at STARTTLS", STARTTLS, Loss.CLOSED, "next-host", "tls"),
    LossSample("certificate of smtps", Stage.CONNECT, Loss.TLS, "next-host", "tls", Context(tls="opportunistic")),
    LossSample("TLS policy not met", EHLO, Loss.NO_TLS, "later", "tls", Context(mode="direct", tls="opportunistic")),
    LossSample("no mechanism", AUTH, Loss.NO_MECHANISM, "pause-route", "auth"),
    LossSample("lost at RCPT", RCPT, Loss.RESET, "later", "connection_lost"),
    LossSample("closed in the body", BODY, Loss.CLOSED, "later", "connection_lost"),
    LossSample("noise before the dot", RCPT, Loss.PROTOCOL, "later", "protocol"),
    *(
        LossSample(f"dot: {loss.value}", DOT, loss, "uncertain", "lost_reply")
        for loss in (Loss.PROTOCOL, Loss.TIMEOUT, Loss.CLOSED, Loss.RESET, Loss.TLS)
    ),
    LossSample("5xx read, then lost", DATA, Loss.CLOSED, "ignore", "", REFUSED),
    LossSample("lost at QUIT", QUIT, Loss.CLOSED, "ignore", ""),
    LossSample("NXDOMAIN once", Stage.CONNECT, Loss.NO_DOMAIN, "later", "dns", DIRECT),
    LossSample("NXDOMAIN again", Stage.CONNECT, Loss.NO_DOMAIN, "fail+suspect", "domain_unknown",
               Context(mode="direct", missing_before=True)),
    LossSample("NXDOMAIN of all", Stage.CONNECT, Loss.NO_DOMAIN, "later", "dns",
               Context(mode="direct", missing_before=True, own_domain_resolves=False)),
    LossSample("null MX", Stage.CONNECT, Loss.NULL_MX, "fail+suppress", "domain_unknown", DIRECT),
    LossSample("SERVFAIL", Stage.CONNECT, Loss.DNS, "later", "dns", DIRECT),
    LossSample("no address", Stage.CONNECT, Loss.NO_ADDRESS, "fail", "domain_unknown", DIRECT),
    LossSample("MX loop", Stage.CONNECT, Loss.MX_LOOP, "fail", "domain_unknown", DIRECT),
    LossSample("the relay's name is gone", Stage.CONNECT, Loss.NO_DOMAIN, "next-host", "dns"),
    LossSample("SIZE", MAIL, Loss.TOO_BIG, "next-host", "too_big"),
    LossSample("SIZE, no other route", MAIL, Loss.TOO_BIG, "fail", "too_big", Context(more_hosts=False)),
    LossSample("SMTPUTF8", MAIL, Loss.NO_SMTPUTF8, "next-host", "smtputf8"),
    LossSample("SMTPUTF8, no other route", MAIL, Loss.NO_SMTPUTF8, "fail", "smtputf8", Context(more_hosts=False)),
)  # fmt: skip
