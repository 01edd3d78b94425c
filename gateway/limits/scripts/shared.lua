-- What the scripts share. It is put before each of them: a store's scripts cannot load one another.
--
-- Per tenant: holds (hash, request id -> row), expiries (sorted set, request id -> when to look at the row again).
-- Per tenant, user and key: counters of one month (`epoch window settled held requests running`; as one string they
-- cost half of what a hash does), and rates (the last minute, second by second, as packed doubles).
-- A row is a hold until it is settled or lapses; a lapsed one is remembered, so that a late charge still counts.
-- A row's scopes are { counters key, epoch of the counters, rates key or false, second in which it was counted }.

local KEEP_S = 73 * 86400 -- A month and 42 days, from when the month's counters were opened.
local REMEMBER_MS = 2 * 86400 * 1000

local SECONDS = 61 -- The running second and the 60 before it: no 60 s anywhere, not even across an edge, hold more.
local HEADER, SLOT = 24, 16
local RATES_KEEP_S = 180

local floor = math.floor

-- Lua writes large whole numbers as 1e+15, and the store would not read that.
local function int(n)
  return string.format('%d', n)
end

-- Unix milliseconds by the store's clock, the one that all gateways share. Only tests hand in their own.
local function clock(given)
  if given ~= '' then
    return tonumber(given)
  end
  local t = redis.call('TIME')
  return t[1] * 1000 + floor(t[2] / 1000)
end

-- The calendar month in UTC, `2026-11`. Howard Hinnant's civil_from_days, with March as the first month.
local function month(now)
  local days = floor(now / 86400000) + 719468
  local era = floor(days / 146097)
  local day = days - era * 146097
  local year = floor((day - floor(day / 1460) + floor(day / 36524) - floor(day / 146096)) / 365)
  local day_of_year = day - (365 * year + floor(year / 4) - floor(year / 100))
  local from_march = floor((5 * day_of_year + 2) / 153)
  year = year + era * 400
  if from_march < 10 then
    return string.format('%04d-%02d', year, from_march + 3)
  end
  return string.format('%04d-%02d', year + 1, from_march - 9)
end

local function read_counters(key)
  local text = redis.call('GET', key)
  if not text then
    return nil
  end
  local epoch, window, settled, held, requests, running =
    string.match(text, '^(%S+) (%S+) (-?%d+) (-?%d+) (-?%d+) (-?%d+)$')
  return {
    key = key,
    epoch = epoch,
    window = window,
    settled = tonumber(settled),
    held = tonumber(held),
    requests = tonumber(requests),
    running = tonumber(running),
  }
end

-- Rows must not outlive the counters that they are in, nor vanish before them: both are kept from the same moments.
-- An entry that stays keeps their keys, and so their time to live, when the last row goes.
local function keep_rows(holds, expiries)
  redis.call('HSET', holds, '', '')
  redis.call('ZADD', expiries, '+inf', '')
  redis.call('EXPIRE', holds, KEEP_S)
  redis.call('EXPIRE', expiries, KEEP_S)
end

local function text_of(c)
  return string.format('%s %s %d %d %d %d', c.epoch, c.window, c.settled, c.held, c.requests, c.running)
end

local function open_counters(c)
  redis.call('SET', c.key, text_of(c), 'EX', KEEP_S)
end

local function write_counters(c)
  redis.call('SET', c.key, text_of(c), 'KEEPTTL')
end

-- Whether these counters were built, or confirmed from the ledger, in the life of the server that runs this.
local function is_of_life(c, life)
  return c ~= nil and string.sub(c.epoch, 1, #life + 1) == life .. '.'
end

-- Takes a hold out of the counters that it is in, and charges its cost to those that are still in its month.
-- Counters rebuilt since it was granted already contain what the ledger had: `is_posted`.
local function close_hold(row, cost, counts, is_posted)
  for _, scope in ipairs(row.scopes) do
    local key, epoch = scope[1], scope[2]
    local c = read_counters(key)
    if c then
      if row.is_held then
        c.running = c.running - 1
      end
      if c.window == row.window then
        if row.is_held then
          c.held = c.held - row.amount
        end
        if not (is_posted and c.epoch ~= epoch) then
          c.settled = c.settled + cost
          c.requests = c.requests - (counts and 0 or 1)
        end
      end
      write_counters(c)
    end
  end
end

local function remember(holds, expiries, id, row, now)
  redis.call('HSET', holds, id, cmsgpack.pack(row))
  redis.call('ZADD', expiries, int(now + REMEMBER_MS), id)
end

local function slot_of(rates, second)
  local at = HEADER + second % SECONDS * SLOT
  local requests, tokens = struct.unpack('<dd', rates.raw, at + 1)
  return requests, tokens, at
end

local function put_slot(rates, second, requests, tokens)
  local at = HEADER + second % SECONDS * SLOT
  rates.raw = string.sub(rates.raw, 1, at) .. struct.pack('<dd', requests, tokens) .. string.sub(rates.raw, at + SLOT + 1)
end

-- The minute up to now: its sums, kept by subtracting what has left it. Writes nothing.
local function read_rates(key, now)
  local rates = { key = key, raw = redis.call('GET', key), second = floor(now / 1000), requests = 0, tokens = 0 }
  local last
  if rates.raw then
    last, rates.requests, rates.tokens = struct.unpack('<ddd', rates.raw)
  end
  if last and last >= rates.second and last < rates.second + SECONDS then
    rates.second = last -- A clock that went back a little does not give the minute back: it waits.
    return rates
  end
  rates.is_moved = true
  if last and last < rates.second and last > rates.second - SECONDS then
    for second = last + 1, rates.second do
      local requests, tokens = slot_of(rates, second)
      if requests ~= 0 or tokens ~= 0 then
        rates.requests, rates.tokens = rates.requests - requests, rates.tokens - tokens
        put_slot(rates, second, 0, 0)
      end
    end
    return rates
  end
  rates.raw = string.rep('\0', HEADER + SECONDS * SLOT)
  if last and last > rates.second then -- It went back far: all of the minute counts as taken just now.
    put_slot(rates, rates.second, rates.requests, rates.tokens)
  else
    rates.requests, rates.tokens = 0, 0
  end
  return rates
end

local function add_to_rates(rates, second, requests, tokens)
  local had_requests, had_tokens, at = slot_of(rates, second)
  requests, tokens = math.max(requests, -had_requests), math.max(tokens, -had_tokens)
  local header = struct.pack('<ddd', rates.second, rates.requests + requests, rates.tokens + tokens)
  local slot = struct.pack('<dd', had_requests + requests, had_tokens + tokens)
  if rates.is_moved then
    local raw = header .. string.sub(rates.raw, HEADER + 1, at) .. slot .. string.sub(rates.raw, at + SLOT + 1)
    redis.call('SET', rates.key, raw, 'EX', RATES_KEEP_S)
  else
    redis.call('SETRANGE', rates.key, 0, header)
    redis.call('SETRANGE', rates.key, at, slot)
  end
end
