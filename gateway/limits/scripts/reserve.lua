-- Reserves over all scopes of a tenant at once, or refuses and changes no counter.
-- KEYS: holds, expiries, then counters and rates of each scope, the tenant's first.
-- ARGV: life, now or '', the ask in MessagePack.
-- Gives: OK, amount, epoch, window, ms until the minute is empty, limit and remaining of requests, the same of tokens
--      | NO, kind, scope (from 0), limit, wait in ms, now, window; for rates and places also the last five of OK
--      | NOSTATE, window

local LAPSED_AT_ONCE = 20

local holds, expiries = KEYS[1], KEYS[2]
local life, now, ask = ARGV[1], clock(ARGV[2]), cmsgpack.unpack(ARGV[3])
local window = month(now)

local function release_lapsed()
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', expiries, '-inf', int(now), 'LIMIT', 0, LAPSED_AT_ONCE)) do
    local packed = redis.call('HGET', holds, id)
    local row = packed and cmsgpack.unpack(packed)
    if row and row.is_held then
      close_hold(row, 0, true, false)
      row.is_held = false
      remember(holds, expiries, id, row, now)
    else
      redis.call('HDEL', holds, id)
      redis.call('ZREM', expiries, id)
    end
  end
end

-- Each scope of the ask with its counters `c`; false if the ledger must be asked first.
local function read_scopes()
  local is_complete = true
  for i, scope in ipairs(ask.scopes) do
    local c = read_counters(KEYS[2 * i + 1])
    if c and c.window > window then
      window = c.window -- A clock that went back does not open a spent month again.
    end
    is_complete = is_complete and is_of_life(c, life)
    scope.c = c
  end
  return is_complete
end

local function roll_forward()
  local is_rolled = false
  for _, scope in ipairs(ask.scopes) do
    local c = scope.c
    if c.window < window then
      c.window, c.settled, c.held, c.requests = window, 0, 0, 0
      c.is_rolled, is_rolled = true, true
    end
  end
  return is_rolled
end

local function refusal(kind, scope, limit, wait)
  return { 'NO', kind, scope - 1, limit, wait, now, window }
end

local function check_quota()
  for i, scope in ipairs(ask.scopes) do
    local limit = scope.limits.requests_per_month
    if limit and scope.c.requests + 1 > limit then
      return refusal('quota', i, limit, 0)
    end
  end
end

-- The dearest amount for which every budget has room. Subtractions only: a sum could pass 2^53 and lose its last unit.
local function choose_amount()
  local room, tightest = math.huge, nil
  for i, scope in ipairs(ask.scopes) do
    local limit = scope.limits.budget_per_month
    if limit and limit - scope.c.settled - scope.c.held < room then
      room, tightest = limit - scope.c.settled - scope.c.held, i
    end
  end
  for _, amount in ipairs(ask.amounts) do
    if amount == 0 or amount <= room then
      return amount
    end
  end
  return nil, refusal('budget', tightest, ask.scopes[tightest].limits.budget_per_month, 0)
end

-- Milliseconds until `excess` has left the minute; a whole minute if waiting will never do.
local function wait_for(rates, excess, what)
  for second = rates.second - SECONDS + 1, rates.second do
    excess = excess - (select(what, slot_of(rates, second)))
    if excess <= 0 then
      return (second + SECONDS) * 1000 - now
    end
  end
  return (rates.second + SECONDS) * 1000 - now
end

-- Of all rates that are used up, the one with the longest wait: only after it could the request pass.
local function check_rates()
  local worst
  local function consider(kind, i, limit, rates, used, what)
    if limit and used > limit then
      local wait = wait_for(rates, used - limit, what)
      if not worst or wait > worst[5] then
        worst = refusal(kind, i, limit, wait)
      end
    end
  end
  for i, scope in ipairs(ask.scopes) do
    local limits = scope.limits
    if limits.requests_per_minute or limits.tokens_per_minute then
      local rates = read_rates(KEYS[2 * i + 2], now)
      scope.rates = rates
      consider('requests', i, limits.requests_per_minute, rates, rates.requests + 1, 1)
      consider('tokens', i, limits.tokens_per_minute, rates, rates.tokens + ask.tokens, 2)
    end
  end
  return worst
end

local function check_concurrency()
  for i, scope in ipairs(ask.scopes) do
    local limit = scope.limits.concurrency
    if limit and scope.c.running + 1 > limit then
      return refusal('concurrency', i, limit, 0)
    end
  end
end

-- Of the scopes with a limit, the limit and what remains of it in the one with the least left; -1 without any.
local function tightest(limit_name, used_of)
  local limit, remaining = -1, -1
  for _, scope in ipairs(ask.scopes) do
    local own = scope.limits[limit_name]
    if own and (limit < 0 or own - used_of(scope.rates) < remaining) then
      limit, remaining = own, own - used_of(scope.rates)
    end
  end
  return limit, remaining
end

-- Where the rates stand once so many requests and tokens more are taken.
local function with_standing(reply, requests, tokens)
  local n = #reply
  reply[n + 1] = (floor(now / 1000) + SECONDS) * 1000 - now
  reply[n + 2], reply[n + 3] = tightest('requests_per_minute', function(rates) return rates.requests + requests end)
  reply[n + 4], reply[n + 5] = tightest('tokens_per_minute', function(rates) return rates.tokens + tokens end)
  return reply
end

local function take(scope, amount)
  local c, rates = scope.c, scope.rates
  c.held, c.requests, c.running = c.held + amount, c.requests + 1, c.running + 1
  if c.is_rolled then
    open_counters(c)
  else
    write_counters(c)
  end
  if rates then
    add_to_rates(rates, rates.second, 1, ask.tokens)
  end
  return { c.key, c.epoch, rates and rates.key or false, rates and rates.second or 0 }
end

local function grant(amount)
  local reply = with_standing({ 'OK', amount, ask.scopes[1].c.epoch, window }, 1, ask.tokens)
  local row = { is_held = true, amount = amount, window = window, tokens = ask.tokens, scopes = {}, reply = reply }
  for i, scope in ipairs(ask.scopes) do
    row.scopes[i] = take(scope, amount)
  end
  redis.call('HSET', holds, ask.request_id, cmsgpack.pack(row))
  redis.call('ZADD', expiries, int(now + ask.ttl_s * 1000), ask.request_id)
  return reply
end

local packed = redis.call('HGET', holds, ask.request_id)
local known = packed and cmsgpack.unpack(packed)
if known and known.is_held then
  return known.reply
end
release_lapsed()
if not read_scopes() then
  return { 'NOSTATE', window }
end
local is_rolled = roll_forward()
local refused = check_quota()
if refused then
  return refused
end
local amount, no_money = choose_amount()
if no_money then
  return no_money
end
refused = check_rates() or check_concurrency()
if refused then
  return with_standing(refused, 0, 0)
end
if is_rolled then
  keep_rows(holds, expiries)
end
return grant(amount)
