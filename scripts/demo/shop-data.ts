/** The shop's rows: the same on every machine, believable, and about nobody. */

export type Customer = {
  readonly id: number;
  readonly name: string;
  readonly email: string;
  readonly card_number: string;
  readonly ssn: string;
  readonly date_of_birth: string;
  readonly balance: number;
};

export type Order = {
  readonly id: number;
  readonly customer_id: number;
  readonly status: "placed" | "paid" | "shipped" | "returned" | "cancelled";
  readonly placed_at: string;
  readonly ship_city: string;
  readonly ship_country: string;
  readonly total: number;
};

export type Payment = {
  readonly id: number;
  readonly order_id: number;
  readonly amount: number;
  readonly method: "card" | "transfer" | "voucher";
  readonly paid_at: string;
};

export type Employee = {
  readonly id: number;
  readonly name: string;
  readonly title: string;
  readonly manager_id: number | null;
  readonly salary: number;
  readonly hired_on: string;
};

export type ShopData = {
  readonly customers: readonly Customer[];
  readonly employees: readonly Employee[];
  readonly orders: readonly Order[];
  readonly payments: readonly Payment[];
};

const FIRST_NAMES =
  "Ada Aisha Alan Amara Ana Andrei Anna Arjun Astrid Beatriz Ben Bianca Carlos Chen Chiara Clara Daniel David Diego Elena Eli Emeka Emil Emma Esther Eva Farah Felix Fatima Gabriel Grace Hana Hannah Hugo Ibrahim Ines Ingrid Isaac Ivan Jack Jana Jonas Julia Kai Karim Katarina Kenji Lars Laura Lea Leila Leo Liam Lina Lucia Luis Maja Marcus Maria Marta Mateo Maya Mei Mia Mikael Mina Nadia Nina Noah Nora Oliver Omar Oscar Paula Pedro Priya Rafael Rosa Ruth Sam Sara Sofia Stefan Theo Tomas Uma Vera Victor Wei Yara Yusuf Zoe".split(
    " ",
  );
const LAST_NAMES =
  "Abbott Adeyemi Ahmed Almeida Andersen Baker Barros Becker Bergman Bianchi Brandt Brown Campbell Castillo Chen Clarke Costa Cruz Dahl Diaz Dubois Edwards Eriksson Evans Farouk Ferrari Fischer Fleming Foster Garcia Gupta Haddad Hansen Hayes Hoffmann Hughes Ito Ivanova Jansen Jensen Johansson Kaya Keller Khan Kim Kovacs Larsen Lee Lindqvist Lopez Mancini Martin Mehta Meyer Moreau Morris Moya Nakamura Nguyen Nielsen Novak Okafor Olsen Ortega Park Patel Pereira Petrov Quinn Ramos Reed Rossi Sato Schmidt Silva Singh Sokolov Stone Suzuki Takahashi Tan Torres Turner Vargas Vogel Wagner Walker Wang Weber Wilson Wright Yilmaz Young Zhang".split(
    " ",
  );
const CITIES: readonly (readonly [string, string])[] = [
  ["Berlin", "DE"],
  ["Boston", "US"],
  ["Chicago", "US"],
  ["Copenhagen", "DK"],
  ["Dublin", "IE"],
  ["Lagos", "NG"],
  ["Lisbon", "PT"],
  ["London", "GB"],
  ["Madrid", "ES"],
  ["Milan", "IT"],
  ["Mumbai", "IN"],
  ["New York", "US"],
  ["Osaka", "JP"],
  ["Paris", "FR"],
  ["Portland", "US"],
  ["Stockholm", "SE"],
  ["São Paulo", "BR"],
  ["Toronto", "CA"],
  ["Vienna", "AT"],
  ["Zürich", "CH"],
];
const TITLES = ["Support agent", "Warehouse clerk", "Buyer", "Software engineer", "Accountant", "Courier"];

/** Pseudo-random numbers in [0, 1) from a 32-bit seed (mulberry32): fixed, so that everybody sees the same shop. */
function generator(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/** The digit that makes `digits` followed by it pass the Luhn check (ISO/IEC 7812-1, annex B). */
export function luhnDigit(digits: string): string {
  let sum = 0;
  for (let i = 0; i < digits.length; i++) {
    const digit = Number(digits[digits.length - 1 - i]);
    const doubled = i % 2 === 0 ? digit * 2 : digit;
    sum += doubled > 9 ? doubled - 9 : doubled;
  }
  return String((10 - (sum % 10)) % 10);
}

const DAY = 86_400_000;

/** All rows of the shop. `customers` defaults to the demo's 2,000; there are three orders to a customer. */
export function shopData({ customers: count = 2000 }: { customers?: number } = {}): ShopData {
  const random = generator(20_260_101);
  const integer = (from: number, to: number): number => from + Math.floor(random() * (to - from + 1));
  const digits = (length: number): string => Array.from({ length }, () => integer(0, 9)).join("");
  const pick = <T>(list: readonly T[]): T => list[integer(0, list.length - 1)] as T;
  const money = (from: number, to: number): number => integer(from * 100, to * 100) / 100;
  const day = (from: string, to: string): string => {
    const start = Date.parse(from);
    return new Date(start + Math.floor((random() * (Date.parse(to) - start)) / DAY) * DAY)
      .toISOString()
      .slice(0, 10);
  };
  const moment = (from: number, to: number): string =>
    new Date(from + Math.floor(random() * (to - from))).toISOString();
  const person = (): { name: string; handle: string } => {
    const first = pick(FIRST_NAMES);
    const last = pick(LAST_NAMES);
    return { name: `${first} ${last}`, handle: `${first}.${last}`.toLowerCase() };
  };
  const cardNumber = (): string => {
    const network = random();
    const start =
      network < 0.6 ? `4${digits(14)}` : network < 0.9 ? `5${integer(1, 5)}${digits(13)}` : `37${digits(12)}`;
    return start + luhnDigit(start);
  };

  const customers: Customer[] = [];
  const numbers = new Set<string>();
  for (let id = 1; id <= count; id++) {
    const { name, handle } = person();
    let ssn: string;
    do {
      ssn = `${String(integer(1, 665)).padStart(3, "0")}-${String(integer(1, 99)).padStart(2, "0")}-${String(integer(1, 9999)).padStart(4, "0")}`;
    } while (numbers.has(ssn));
    numbers.add(ssn);
    customers.push({
      id,
      name,
      email: `${handle}${id}@${pick(["example.com", "example.net", "example.org", "mail.example"])}`,
      card_number: cardNumber(),
      ssn,
      date_of_birth: day("1941-01-01", "2007-12-31"),
      balance: money(0, 4000),
    });
  }

  const employees: Employee[] = [];
  for (let id = 1; id <= 40; id++) {
    const { name } = person();
    const title = id === 1 ? "Managing director" : id <= 5 ? "Team lead" : pick(TITLES);
    employees.push({
      id,
      name,
      title,
      manager_id: id === 1 ? null : id <= 5 ? 1 : integer(2, 5),
      salary: id === 1 ? 182_000 : id <= 5 ? money(88_000, 120_000) : money(38_000, 84_000),
      hired_on: day("2012-01-01", "2026-06-30"),
    });
  }

  const orders: Order[] = [];
  const payments: Payment[] = [];
  const from = Date.parse("2024-01-01T00:00:00Z");
  const to = Date.parse("2026-10-31T00:00:00Z");
  for (let id = 1; id <= count * 3; id++) {
    const [ship_city, ship_country] = pick(CITIES);
    const placed_at = moment(from, to);
    const total = money(5, 400);
    const fate = random();
    const status =
      fate < 0.06
        ? "placed"
        : fate < 0.1
          ? "cancelled"
          : fate < 0.2
            ? "paid"
            : fate < 0.96
              ? "shipped"
              : "returned";
    orders.push({ id, customer_id: integer(1, count), status, placed_at, ship_city, ship_country, total });
    if (status === "placed" || status === "cancelled") continue;
    const paid = Date.parse(placed_at);
    const method = random() < 0.8 ? "card" : random() < 0.8 ? "transfer" : "voucher";
    payments.push({
      id: payments.length + 1,
      order_id: id,
      amount: total,
      method,
      paid_at: moment(paid, paid + 3 * DAY),
    });
    if (status === "returned") {
      payments.push({
        id: payments.length + 1,
        order_id: id,
        amount: -total,
        method,
        paid_at: moment(paid + 5 * DAY, paid + 20 * DAY),
      });
    }
  }
  return { customers, employees, orders, payments };
}
